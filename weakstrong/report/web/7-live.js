// While `w2s serve` runs: ask for news, and put new results in the place of the old ones. Elsewhere this does nothing.

const EVERY = 1500;
const digestOf = (page) => page.querySelector('meta[name="weakstrong-live"]')?.content;

// Where the keyboard is, in words that hold for the new page too.
const placeOf = (element) => {
  if (!element || element === document.body) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  const row = element.closest("tr[id], tr[data-cell]");
  if (!row) return null;
  return (row.id ? `#${CSS.escape(row.id)}` : `tr[data-cell="${row.dataset.cell}"]`) + " button";
};

const swap = (fresh) => {
  if (fresh.scripts.length !== document.scripts.length ||
      fresh.scripts[1].textContent !== document.scripts[1].textContent) {
    location.reload(); // another version of the program
    return;
  }
  const focus = placeOf(document.activeElement);
  const sorted = all("table.sortable[id]").flatMap((table) =>
    [...table.tHead.rows[0].cells].filter((head) => head.getAttribute("aria-sort") !== "none")
      .map((head) => [table.id, head.cellIndex, head.getAttribute("aria-sort")]));
  const sheetsSorted = [...sheets].map(([name, made]) => [name, made.column, made.direction, made.limit]);
  const open = all("main details[open][id], header details[open]").map((item) => item.id);
  const scrolled = all(".scroll").map((box) => [box.scrollLeft, box.scrollTop]);
  const caret = [byId("filter")?.selectionStart, byId("filter")?.selectionEnd];
  for (const part of ["header", "main"]) document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
  byId("data").textContent = fresh.getElementById("data").textContent;
  document.querySelector('meta[name="weakstrong-live"]').content = digestOf(fresh);
  document.title = fresh.title;
  data = read(document);
  build();
  for (const [id, column, direction] of sorted) if (byId(id)) sortTable(byId(id), column, direction);
  for (const [name, column, direction, limit] of sheetsSorted) {
    const made = sheets.get(name);
    if (!made) continue;
    if (column !== null) made.sort(column, direction);
    made.show(limit);
  }
  for (const id of open) if (id && byId(id)) byId(id).open = true;
  all(".scroll").forEach((box, i) => scrolled[i] && ([box.scrollLeft, box.scrollTop] = scrolled[i]));
  if (dialog.open) {
    const row = state.open && byId(`open=${state.open}`);
    if (row && looked.cell === null) look(Number(row.dataset.result));
  } else if (focus) {
    const element = document.querySelector(focus);
    element?.focus({ preventScroll: true });
    if (element?.id === "filter") element.setSelectionRange(...caret);
  }
};

const tell = (words) => {
  const line = byId("live");
  line.hidden = false;
  if (line.textContent !== words) line.textContent = words;
};

const ask = async () => {
  try {
    const news = await (await fetch("digest", { cache: "no-store" })).json();
    if (news.digest !== digestOf(document)) {
      const text = await (await fetch("./", { cache: "no-store" })).text();
      swap(new DOMParser().parseFromString(text, "text/html"));
    }
    const counts = `${plural(news.done, "cell")} done, ${news.missing} missing, ${news.failed} failed`;
    tell(news.error ? `The store cannot be read now: ${news.error}`
      : `Live: ${counts}${news.running ? `; ${plural(news.running, "step")} running` : ""}.`);
  } catch {
    tell("The server has stopped; this page stays as it is.");
  }
  setTimeout(ask, EVERY);
};
