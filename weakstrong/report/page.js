
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);

  // Sorting: by data-sort; what has none stays last in both directions.
  const compare = (a, b, numeric) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.firstElementChild.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        const numeric = "numeric" in head.dataset;
        const keyed = [...table.tBodies[0].rows].map((row) => {
          const text = row.cells[column].dataset.sort;
          return { row, empty: text === "", value: numeric ? Number(text) : text };
        });
        keyed.sort((a, b) => a.empty - b.empty || (a.empty ? 0 : sign * compare(a.value, b.value, numeric)));
        table.tBodies[0].append(...keyed.map((item) => item.row));
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      });
    });
  }

  // Filter: a row stays when it has every word.
  const filter = document.getElementById("filter");
  if (filter) {
    const rows = [...document.getElementById("cells").tBodies[0].rows].map((row) => {
      const words = [...row.cells].map((cell) => cell.textContent).join(" ");
      return { row, text: words.toLowerCase() };
    });
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const { row, text } of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        count += row.hidden ? 0 : 1;
      }
      const total = rows.length.toLocaleString("en");
      document.getElementById("filter-count").textContent =
        words.length ? `${count.toLocaleString("en")} of ${total} cells` : `${total} cells`;
    });
  }

  // Specs and step records are written when opened: a page of a thousand cells stays light.
  for (const item of document.querySelectorAll("details.spec")) {
    item.addEventListener("toggle", () => {
      item.lastElementChild.textContent = JSON.stringify(data.specs[item.dataset.key], null, 2);
    });
  }
  const open = () => {
    const target = /^#spec-\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (target) {
      document.getElementById("specs").open = true;
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();

  const word = (value) =>
    value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const columnsOf = (rows) => [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const records = document.getElementById("records");
  if (records) {
    records.addEventListener("toggle", () => {
      const place = records.lastElementChild;
      if (place.firstChild) return;
      const table = place.appendChild(document.createElement("table"));
      const columns = columnsOf(data.provenance);
      const head = table.createTHead().insertRow();
      for (const name of columns) {
        const cell = head.appendChild(document.createElement("th"));
        cell.scope = "col";
        cell.textContent = name;
      }
      const body = table.createTBody();
      for (const record of data.provenance) {
        const row = body.insertRow();
        for (const name of columns) row.insertCell().textContent = word(record[name]);
      }
    });
  }

  // Downloads, made here from the data of this page.
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  // What a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers.
  const plain = (text) => (/^[=+\-@\t\r][^]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
  const csv = (rows) => {
    const columns = columnsOf(rows);
    const lines = [columns, ...rows.map((row) => columns.map((name) => plain(word(row[name]))))];
    return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
  };
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => {
      const what = button.dataset.download;
      if (what === "json") save("weakstrong.json", "application/json", JSON.stringify(data, null, 1));
      else save(`weakstrong-${what}.csv`, "text/csv;charset=utf-8", csv(data[what]));
    });
  }
})();
