// Tables: sorting of those in the page, and sheets, which are built here from rows of data.

const compare = (a, b, numeric) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
// What has no value stays last in both directions.
const byKey = (sign, numeric) => (a, b) =>
  a.empty - b.empty || (a.empty ? 0 : sign * compare(a.value, b.value, numeric));

const sortTable = (table, column, direction) => {
  const heads = [...table.tHead.rows[0].cells];
  const numeric = "numeric" in heads[column].dataset;
  const keyed = [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent;
    return { row, empty: text === "", value: numeric ? Number(text) : text };
  });
  keyed.sort(byKey(direction === "ascending" ? 1 : -1, numeric));
  table.tBodies[0].append(...keyed.map((item) => item.row));
  heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? direction : "none"));
};

const other = (head) => (head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
document.addEventListener("click", (event) => {
  const head = event.target.closest("table.sortable > thead th");
  if (head && event.target.closest("button")) sortTable(head.closest("table"), head.cellIndex, other(head));
});

// Rows as a table of plain words.
const plainTable = (caption, names, rows, numeric = () => false) =>
  make("table", {},
    make("caption", { class: "hidden" }, caption),
    make("thead", {}, make("tr", {}, names.map((name) =>
      make("th", { scope: "col", class: numeric(name) ? "n" : null }, name)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map((cell, i) =>
      make("td", { class: numeric(names[i]) ? "n" : null }, cell instanceof Node ? cell : shown(cell)))))));

const PAGE = 100;
const sheets = new Map();

// A long table in a box: sorted by any column, a page at a time. `rows` are all; `choose` says which are shown.
const sheet = (name, box, caption, rows, leftOut, say) => {
  const several = (column) => new Set(rows.map((row) => word(row[column]))).size > 1;
  const first = ["measure", "value", "low", "high"];
  const own = columnsOf(rows).filter((column) => !leftOut(column) && !NAMES.includes(column) && !first.includes(column));
  const kept = [...NAMES.filter(several), ...first.filter((c) => rows.some((row) => c in row)), ...own];
  const numeric = Object.fromEntries(kept.map((column) =>
    [column, rows.every((row) => row[column] === null || row[column] === undefined || isNumber(row[column]))]));
  const made = { chosen: rows, limit: PAGE, column: null, direction: "none" };
  const body = make("tbody");
  const heads = kept.map((column) =>
    make("th", { scope: "col", class: numeric[column] ? "n" : null, "aria-sort": "none" },
      make("button", { type: "button", onclick: () => made.sort(column) }, column.replaceAll("_", " "))));
  const more = make("button", { type: "button", class: "small more", onclick: () => made.show(Infinity) });
  made.sort = (column, direction) => {
    made.direction = direction || (made.column === column && made.direction === "ascending" ? "descending" : "ascending");
    made.column = column;
    heads.forEach((head, i) => head.setAttribute("aria-sort", kept[i] === column ? made.direction : "none"));
    made.show();
  };
  made.show = (limit = made.limit) => {
    made.limit = limit;
    let ordered = made.chosen;
    if (made.column !== null) {
      const sign = made.direction === "ascending" ? 1 : -1;
      const keyed = ordered.map((row) => {
        const value = row[made.column];
        return { row, empty: value === null || value === undefined, value: numeric[made.column] ? value : word(value) };
      });
      ordered = keyed.sort(byKey(sign, numeric[made.column])).map((item) => item.row);
    }
    body.replaceChildren(...ordered.slice(0, limit).map((row) => make("tr", {}, kept.map((column) =>
      make("td", { class: numeric[column] ? "n" : null }, shown(row[column]))))));
    more.hidden = ordered.length <= limit;
    more.textContent = `Show all ${ordered.length.toLocaleString("en")} rows`;
    say(ordered.length, rows.length);
  };
  made.choose = (passes) => {
    made.chosen = rows.filter(passes);
    made.show();
  };
  box.replaceChildren(
    make("table", {}, make("caption", { class: "hidden" }, caption), make("thead", {}, make("tr", {}, heads)), body),
    more);
  sheets.set(name, made);
  return made;
};
