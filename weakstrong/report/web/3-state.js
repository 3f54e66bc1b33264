// What is chosen: names, words, and the result that is open. It lives in the address, so that a link shows the same.

const state = { names: {}, words: "", open: "" };

const readAddress = () => {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return; // a place of the page
  const given = new URLSearchParams(hash);
  state.names = {};
  for (const select of all("[data-filter]")) {
    const value = given.get(select.dataset.filter) || "";
    select.value = [...select.options].some((option) => option.value === value) ? value : "";
    if (select.value) state.names[select.dataset.filter] = select.value;
  }
  state.words = given.get("words") || "";
  if (byId("filter")) byId("filter").value = state.words;
  state.open = given.get("open") || "";
};

const writeAddress = () => {
  const kept = new URLSearchParams(state.names);
  if (state.words) kept.set("words", state.words);
  if (state.open) kept.set("open", state.open);
  const hash = kept.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
};

const wanted = (row, names = NAMES) =>
  names.every((name) => !(name in state.names) || String(row[name]) === state.names[name]);

const applyFilters = () => {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  const says = (text) => words.every((part) => text.toLowerCase().includes(part));
  const textOf = (row) => [...row.cells].map((cell) => cell.textContent).join(" ");
  const passed = new Set();
  for (const row of all("#results > tbody > tr")) {
    const result = data.aggregate[row.dataset.result];
    row.hidden = !(wanted(result) && says(`${textOf(row)} ${NAMES.map((name) => result[name]).join(" ")}`));
    if (!row.hidden) passed.add(row.dataset.result);
  }
  for (const mark of all(".strip [data-result]")) mark.hidden = !passed.has(mark.dataset.result);
  for (const strip of all(".strip")) {
    const marks = all(".dot", strip);
    strip.hidden = marks.length > 0 && marks.every((mark) => mark.hidden);
  }
  const tasks = new Set([...passed].map((i) => String(data.aggregate[i].task)));
  for (const section of all("section[data-task]")) section.hidden = !tasks.has(section.dataset.task);
  for (const row of all("#across > tbody > tr"))
    row.hidden = !wanted(data.across[row.dataset.across], NAMES.slice(1));
  let cells = 0;
  for (const row of all("#cells > tbody > tr")) {
    const cell = data.cells[row.dataset.cell];
    row.hidden = !(wanted(cell) && says(`${textOf(row)} ${NAMES.map((name) => cell[name]).join(" ")}`));
    cells += row.hidden ? 0 : 1;
  }
  for (const made of sheets.values()) made.choose((row) => wanted(row) && says(Object.values(row).map(word).join(" ")));
  const some = words.length > 0 || Object.keys(state.names).length > 0;
  const count = (part, whole, one) =>
    some ? `${part.toLocaleString("en")} of ${plural(whole, one)}` : plural(whole, one);
  if (byId("filter-count")) {
    byId("filter-count").textContent =
      `${count(passed.size, data.aggregate.length, "result")}, ${count(cells, data.cells.length, "cell")}`;
    byId("clear").hidden = !some;
  }
};

document.addEventListener("input", (event) => {
  const name = event.target.dataset.filter;
  if (name) {
    if (event.target.value) state.names[name] = event.target.value;
    else delete state.names[name];
  } else if (event.target.id === "filter") state.words = event.target.value;
  else return;
  writeAddress();
  applyFilters();
});
document.addEventListener("click", (event) => {
  if (event.target.id !== "clear") return;
  Object.assign(state, { names: {}, words: "" });
  writeAddress();
  readAddress();
  applyFilters();
  byId("filter").focus();
});

// Places of the page are gone to without a change of the address, which holds what is chosen.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const target = byId(link.getAttribute("href").slice(1));
  if (!target || link.dataset.result !== undefined) return;
  event.preventDefault();
  target.scrollIntoView();
  target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
});
