// Downloads, made here from the data of this page.

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
// What a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers.
const plain = (text) => (/^[=+\-@\t\r][^]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
const csv = (rows) => {
  const columns = columnsOf(rows);
  const lines = [columns.map(plain), ...rows.map((row) => columns.map((name) => plain(word(row[name]))))];
  return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
};
const save = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const named = (text) => text.replace(/[^\w.-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 80) || "figure";

const printOne = (figure) => {
  const marked = [];
  for (let node = figure; node !== document.body; node = node.parentElement) marked.push(node);
  const clear = () => {
    document.body.classList.remove("print-one");
    for (const node of marked) node.classList.remove("printed", "target");
  };
  for (const node of marked) node.classList.add("printed");
  figure.classList.add("target");
  document.body.classList.add("print-one");
  addEventListener("afterprint", clear, { once: true });
  print();
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-download], [data-save]");
  if (!button) return;
  const figure = button.closest("figure");
  const what = button.dataset.download;
  if (button.dataset.save === "svg") {
    const text = new XMLSerializer().serializeToString(figure.querySelector("svg"));
    save(`${named(figure.dataset.name)}.svg`, "image/svg+xml", text);
  } else if (button.dataset.save === "print") printOne(figure);
  else if (what === "json") save("weakstrong.json", "application/json", JSON.stringify(data, null, 1));
  else if (what === "analysis") {
    const name = button.closest("[data-analysis]").dataset.analysis;
    save(`weakstrong-${named(name)}.csv`, "text/csv;charset=utf-8", csv(data.analyses[name]));
  } else save(`weakstrong-${what}.csv`, "text/csv;charset=utf-8", csv(data[what]));
});
