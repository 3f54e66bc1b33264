// What has to be made once for the page, and again when its results change.

const build = () => {
  sheets.clear();
  for (const section of all("section.analysis")) {
    const name = section.dataset.analysis;
    const count = section.querySelector("output");
    sheet(name, section.querySelector(".scroll"), `Analysis ${name}`, data.analyses[name],
      (column) => ["analysis", "recipe"].includes(column),
      (part, whole) => { count.textContent = part === whole ? plural(whole, "row") : `${part.toLocaleString("en")} of ${plural(whole, "row")}`; });
  }
  oneStop();
  readAddress();
  applyFilters();
};
const openAddressed = () => {
  const row = state.open && byId(`open=${state.open}`);
  if (row) look(Number(row.dataset.result));
  else if (dialog.open) dialog.close();
};

document.addEventListener("toggle", (event) => {
  // Written when opened: a page of a thousand cells stays light.
  if (event.target.id !== "records") return;
  const place = event.target.lastElementChild;
  if (place.firstChild) return;
  const columns = columnsOf(data.provenance);
  place.append(plainTable("Every step", columns, data.provenance.map((record) => columns.map((name) => record[name]))));
}, true);

build();
openAddressed();
addEventListener("hashchange", () => {
  readAddress();
  applyFilters();
  openAddressed();
});
if (digestOf(document) && /^https?:$/.test(location.protocol)) ask();
