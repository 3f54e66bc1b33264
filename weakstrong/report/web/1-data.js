// The data of the page, and words from values. Every text enters the page as a text node, never as markup.

// As weakstrong.report.packing.unpacked.
const unpack = ({ shapes, pool, root }) => {
  const found = [];
  const value = (part) => {
    if (!Array.isArray(part)) return part;
    const [tag, ...rest] = part;
    if (tag === -2) return found[rest[0]];
    const values = rest.map(value);
    return tag === -1 ? values : Object.fromEntries(shapes[tag].map((name, i) => [name, values[i]]));
  };
  for (const entry of pool) found.push(value(entry));
  return value(root);
};
const read = (page) => unpack(JSON.parse(page.getElementById("data").textContent));
let data = read(document);

const NAMES = ["task", "supervisor", "student", "method", "regime"];
const byId = (id) => document.getElementById(id);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// An element with attributes and children; null children are left out, functions are listeners of clicks.
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
};

const MISSING = "–";
const word = (value) =>
  value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
const isNumber = (value) => typeof value === "number";
const fixed = (value, digits) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
};
const shown = (value, digits = 3) => {
  if (value === null || value === undefined) return MISSING;
  if (!isNumber(value)) return word(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1000 ? value.toPrecision(4) : fixed(value, digits);
};
const interval = (low, high, digits) =>
  isNumber(low) && isNumber(high) ? `[${fixed(low, digits)}, ${fixed(high, digits)}]` : "";
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
const columnsOf = (rows) => [...new Set(rows.flatMap((row) => Object.keys(row)))];
