// The explorer: what lies behind a result or a cell, in a dialog that the browser keeps the keyboard inside.

const dialog = byId("explorer");
let looked = null; // { result, cell }: places in data.aggregate and data.cells, or null

const sameNames = (a, b) => NAMES.every((name) => a[name] === b[name]);
const entryOf = (result) =>
  data.explorer.find((entry) => sameNames(entry, result) &&
    (entry.recipe === undefined || result.recipe === undefined || entry.recipe === result.recipe));
const resultOfCell = (cell) => {
  const keys = data.aggregate.findIndex((result) => (entryOf(result)?.keys || []).includes(cell.key));
  return keys >= 0 ? keys : data.aggregate.findIndex((result) => sameNames(result, cell));
};
const idOf = (result) => document.querySelector(`#results tr[data-result="${result}"]`)?.id.slice("open=".length) || "";

const look = (result, cell = null) => {
  looked = { result, cell };
  const inside = dialog.querySelector(".inside");
  if (!dialog.open) dialog.showModal();
  inside.replaceChildren(...(result === null ? cellAlone(data.cells[cell]) : behind(result, cell, inside.clientWidth)));
  inside.scrollTop = 0;
  for (const button of all("[data-go]", dialog)) button.hidden = result === null;
  state.open = result === null ? "" : idOf(result);
  writeAddress();
  inside.focus({ preventScroll: true });
};

const title = (row) => [
  make("p", { class: "kicker" }, `${row.task} · ${row.regime}`),
  make("h2", { id: "explorer-title" }, `${row.supervisor} → ${row.student}`, make("span", {}, row.method)),
];
const fold = (name, content, open = false) =>
  make("details", open ? { open: "" } : {}, make("summary", {}, name), content);
const boxed = (name, table) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
const specOf = (key) => make("pre", { tabindex: "0" }, JSON.stringify(data.specs[key], null, 2) || "not in this file");

const cellAlone = (cell) => [
  ...title(cell),
  make("p", { class: "facts" }, `seed ${cell.seed}, ${cell.status}`),
  cell.error ? make("p", { class: "bad" }, cell.error) : null,
  make("h3", {}, "Spec"),
  specOf(cell.key),
].filter(Boolean);

const behind = (place, chosen, width) => {
  const result = data.aggregate[place];
  const entry = entryOf(result);
  const keys = entry?.keys;
  const cells = data.cells.filter((cell) => (keys ? keys.includes(cell.key) : sameNames(cell, result)));
  const defined = result.pgr_defined && result.pgr !== null;
  const pgr = defined
    ? ["PGR ", make("b", {}, fixed(result.pgr, 2)), ` ${interval(result.pgr_low, result.pgr_high, 2)}`]
    : [`PGR undefined: ${result.pgr_reason}`];
  return [
    ...title(result),
    make("p", { class: "big" }, pgr),
    make("p", { class: "facts" }, ["supervisor", "student", "ceiling"].map((role) =>
      `${role} ${shown(result[`${role}_score`])} ${interval(result[`${role}_low`], result[`${role}_high`], 3)}`).join(" · ")),
    ...curvePart(entry, width),
    ...disagreementPart(entry),
    ...analysisPart(result),
    make("h3", {}, "Seeds"),
    boxed("Seeds", plainTable("Scores of every seed",
      ["seed", "supervisor", "student", "ceiling", "PGR", "status"],
      cells.map((cell) => [cell.seed, cell.supervisor_score, cell.student_score, cell.ceiling_score,
        defined ? cell.pgr : cell.pgr === null ? null : "undefined", cell.status]),
      (name) => name !== "status")),
    make("h3", {}, "Specs"),
    make("p", { class: "hint" }, "The whole truth about each cell: what decides its numbers, every default written out."),
    ...cells.map((cell) => fold([make("code", {}, cell.key.slice(0, 8)), ` seed ${cell.seed}`], specOf(cell.key),
      chosen !== null && data.cells[chosen] === cell)),
    ...provenancePart(entry),
  ].filter(Boolean);
};

const curvePart = (entry, width) => {
  if (!entry || !entry.curve.lines.length) return [];
  const { lines, unit } = entry.curve;
  const values = plainTable("Agreement with the weak validation labels", ["seed", unit, "agreement"],
    lines.flatMap((line) => line.points.map(([at, value]) => [line.seed, at, fixed(value, 4)])), () => true);
  return [
    make("h3", {}, "Training curve"),
    make("p", { class: "hint" }, "How often the student says what its supervisor says, on rows held out for validation. ",
      "These are weak labels: more agreement is not more truth. A dot marks the training that was kept."),
    curveChart(entry.curve, Math.max(260, Math.min(640, width))),
    make("ul", { class: "legend" }, lines.map((line, i) =>
      make("li", { class: `hue${i % 6}` }, `seed ${line.seed}`))),
    fold("The values", boxed("Values of the curve", values)),
  ];
};

const KINDS = [
  ["student_right", "Student right, supervisor wrong"],
  ["supervisor_right", "Supervisor right, student wrong"],
];
const disagreementPart = (entry) => {
  if (!entry) return [];
  const { counts } = entry;
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const share = (count) => `${count.toLocaleString("en")} (${total ? fixed((100 * count) / total, 0) : 0} %)`;
  const head = (text, scope) => make("th", { scope, class: scope === "col" ? "n" : null }, text);
  const row = (name, ...found) =>
    make("tr", {}, head(name, "row"), found.map((count) => make("td", { class: "n" }, share(count))));
  return [
    make("h3", {}, "Where student and supervisor differ"),
    make("p", { class: "hint" }, `Seed ${entry.seed}, ${plural(total, "test row")}. `,
      "Rows are taken in the order of a hash of their ids, not picked. The truth of these rows was sealed while everything was trained."),
    boxed("Who is right", make("table", { class: "four" },
      make("caption", { class: "hidden" }, "Test rows by who is right"),
      make("thead", {}, make("tr", {}, make("td"), head("supervisor right", "col"), head("supervisor wrong", "col"))),
      make("tbody", {}, row("student right", counts.both_right, counts.student_right),
        row("student wrong", counts.supervisor_right, counts.both_wrong)))),
    entry.note ? make("p", { class: "hint" }, entry.note) : null,
    ...KINDS.filter(([kind]) => entry[kind].length).map(([kind, name]) =>
      fold(`${name}: ${entry[kind].length} of ${counts[kind].toLocaleString("en")}`,
        make("ul", { class: "texts" }, entry[kind].map(example)), true)),
  ];
};
const example = (row) => {
  const said = (who) => make("span", { class: row[who] === row.truth ? "said right" : "said wrong" },
    `${who}: `, make("b", {}, row[who]), isNumber(row[`${who}_p`]) ? ` ${fixed(row[`${who}_p`], 2)}` : "");
  return make("li", {},
    make("p", { class: "text" }, row.text ?? ""),
    row.other ? make("p", { class: "text" }, make("b", {}, "second: "), row.other) : null,
    make("p", { class: "verdict" }, make("span", { class: "said" }, "truth: ", make("b", {}, row.truth)),
      said("supervisor"), said("student"), make("code", {}, row.id)));
};

const analysisPart = (result) => {
  const parts = Object.entries(data.analyses).flatMap(([name, rows]) => {
    const mine = rows.filter((row) => sameNames(row, result) && (row.recipe ?? result.recipe) === result.recipe);
    if (!mine.length) return [];
    const left = new Set([...NAMES, "analysis", "recipe", "n_seeds"]);
    const columns = columnsOf(mine).filter((column) => !left.has(column));
    const numeric = (column) => mine.every((row) => row[column] === null || isNumber(row[column]));
    return [fold(`${name}: ${plural(mine.length, "row")}`,
      boxed(`Analysis ${name}`, plainTable(name, columns, mine.map((row) => columns.map((column) => row[column])), numeric)))];
  });
  return parts.length ? [make("h3", {}, "Analyses"), ...parts] : [];
};

const provenancePart = (entry) => {
  if (!entry) return [];
  const byKey = new Map(data.provenance.map((record) => [record.key, record]));
  const mine = entry.steps.map((key) => byKey.get(key)).filter(Boolean);
  if (!mine.length) return [];
  const versions = word(mine[mine.length - 1].versions).replace(/[{}"]/g, "").replaceAll(",", ", ").replaceAll(":", " ");
  return [
    make("h3", {}, "Provenance"),
    make("p", { class: "hint" }, `The steps behind seed ${entry.seed}, first to last. ${versions}`),
    boxed("Provenance", plainTable("Steps", ["step", "what", "seconds", "finished", "key"],
      mine.map((record) => [record.step, record.title, record.seconds, record.finished, make("code", {}, record.key.slice(0, 8))]),
      (name) => name === "seconds")),
  ];
};

dialog.addEventListener("close", () => {
  const row = looked && (looked.cell === null
    ? document.querySelector(`#results tr[data-result="${looked.result}"] .open`)
    : document.querySelector(`#cells tr[data-cell="${looked.cell}"] .open`));
  looked = null;
  state.open = "";
  writeAddress();
  row?.focus(); // also where Next has gone on from the row that opened it
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  const go = event.target.closest("[data-go]");
  if (!go || !looked) return;
  const rows = all("#results > tbody > tr").filter((row) => !row.hidden).map((row) => Number(row.dataset.result));
  const at = rows.indexOf(looked.result);
  const step = Number(go.dataset.go);
  if (rows.length) look(rows[at < 0 ? 0 : (at + step + rows.length) % rows.length]);
  go.focus();
});

// A click anywhere in a row is one on its button; points of figures carry the place of their result in their id.
document.addEventListener("click", (event) => {
  if (event.target.closest("dialog") || String(getSelection()) !== "") return;
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const row = event.target.closest("#results > tbody > tr, .dot[data-result]");
  const cell = event.target.closest("#cells > tbody > tr");
  const point = event.target.closest('.card [id*="-result-"]')?.id.match(/-result-(\d+)$/);
  const place = row ? Number(row.dataset.result) : point ? Number(point[1]) : null;
  if (place !== null && place < data.aggregate.length) {
    event.preventDefault();
    look(place);
  } else if (cell) {
    const number = Number(cell.dataset.cell);
    const result = data.cells[number].status === "done" ? resultOfCell(data.cells[number]) : -1;
    look(result >= 0 ? result : null, number);
  }
});

// One tab stop per small multiple; arrows go from dot to dot.
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const oneStop = () => {
  for (const box of all(".multiple")) all(".dot", box).forEach((dot, i) => dot.setAttribute("tabindex", i ? "-1" : "0"));
};
document.addEventListener("keydown", (event) => {
  const dot = event.target.closest?.(".multiple .dot");
  if (!dot || !(event.key in STEPS)) return;
  event.preventDefault();
  const dots = all(".dot", dot.closest(".multiple")).filter((one) => !one.hidden);
  const next = dots[(dots.indexOf(dot) + STEPS[event.key] + dots.length) % dots.length];
  dot.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});
