"use strict";
document.documentElement.classList.add("scripted");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------- tables: sort, filter, choose columns

function number(text) {
  return text.trim() === "" ? NaN : Number(text);
}

// Empty cells come last in both orders.
function compared(one, other, descending) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const [a, b] = [number(one), number(other)];
  const order = isNaN(a) || isNaN(b) ? one.localeCompare(other) : a - b;
  return descending ? -order : order;
}

function sort(table, heading, place) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  rows.sort((one, other) => compared(one.cells[place].textContent, other.cells[place].textContent, descending));
  body.append(...rows);
}

function filter(table, typed, said) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
    // A word is looked for everywhere; NAME=VALUE is one column's value.
    row.hidden = !words.every((word) => {
      const [name, value] = word.split("=");
      const place = [...table.tHead.rows[0].cells].findIndex((heading) => heading.textContent.toLowerCase() === name);
      return value === undefined || place < 0 ? text.includes(word) : cells[place] === value;
    });
    shown += !row.hidden;
  }
  said.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
}

for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const said = make("output");
  const search = make("input", { type: "search", size: 34, placeholder: "words, or method=lora" });
  search.addEventListener("input", () => filter(table, search.value, said));
  const columns = make("div", { className: "columns" });
  headings.forEach((heading, place) => {
    const name = heading.textContent;
    const box = make("input", { type: "checkbox", checked: !heading.classList.contains("off") });
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[place].classList.toggle("off", !box.checked);
    });
    columns.append(make("label", {}, box, ` ${name}`));
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => sort(table, heading, place));
    heading.replaceChildren(button);
  });
  const choice = make("details", {}, make("summary", { textContent: "Columns" }), columns);
  const tools = make("div", { className: "tools" }, make("label", {}, "Filter: ", search), said, choice);
  table.parentElement.before(tools);
  filter(table, "", said);
}

// ---------------------------------------------------------------- the plot of two metrics

const points = JSON.parse(document.getElementById("points").textContent);
const methods = [...new Set(points.map((point) => point.method))];
const metrics = [...new Set(points.flatMap((point) => Object.keys(point.values)))].sort();
const [width, height, left, bottom] = [900, 520, 80, 60];
// Those of the report's figures, under matplotlib's names.
const marks = {
  s: "M-5-5H5V5H-5Z", "^": "M0-6 6 5H-6Z", v: "M0 6-6-5H6Z", D: "M0-7 7 0 0 7-7 0Z",
  P: "M-6-2H-2V-6H2V-2H6V2H2V6H-2V2H-6Z", o: "M-6 0A6 6 0 1 0 6 0A6 6 0 1 0-6 0Z",
};
const mark_of = (method) => marks[points.find((point) => point.method === method).marker] ?? "M-6-6 6 6M6-6-6 6";

function svg(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// Multiples of 1, 2 or 5 times a power of ten between the ends: two at least, mostly four to nine.
function round(least, most) {
  if (least === most) return [least];
  const rough = (most - least) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [5, 2, 1].find((part) => part * power <= rough);
  const first = Math.ceil(least / step - 1e-9);
  return Array.from({ length: Math.floor(most / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

function scale(values, from, to) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const [room, span] = [(most - least || Math.abs(most) || 1) * 0.05, most - least || Math.abs(most) || 1];
  return {
    place: (value) => from + ((value - least + room) / (span + 2 * room)) * (to - from),
    ticks: round(least, most),
  };
}

function draw(x, y, study) {
  const shown = points.filter((p) => (!study || p.study === study) && p.values[x] && p.values[y]);
  const drawing = document.querySelector("#plot .drawing");
  if (!shown.length) return drawing.replaceChildren(make("p", { textContent: "No run has both metrics." }));
  const ends = (name) => shown.flatMap((p) => p.values[name].filter((value) => value !== null));
  const [across, up] = [scale(ends(x), left, width - 170), scale(ends(y), height - bottom, 20)];
  const said = shown.map((p) => `${p.method} (${p.study}): ${p.values[x][0].toPrecision(4)}, ${p.values[y][0].toPrecision(4)}`);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${y} against ${x}. ${said.join("; ")}` });
  for (const tick of across.ticks) {
    picture.append(svg("path", { class: "grid", d: `M${across.place(tick)} 20V${height - bottom}` }));
    picture.append(svg("text", { x: across.place(tick), y: height - bottom + 20, "text-anchor": "middle" }, +tick.toPrecision(4)));
  }
  for (const tick of up.ticks) {
    picture.append(svg("path", { class: "grid", d: `M${left} ${up.place(tick)}H${width - 170}` }));
    picture.append(svg("text", { x: left - 8, y: up.place(tick) + 4, "text-anchor": "end" }, +tick.toPrecision(4)));
  }
  picture.append(svg("text", { x: (left + width - 170) / 2, y: height - 12, "text-anchor": "middle" }, x));
  picture.append(svg("text", { transform: `translate(16 ${height / 2}) rotate(-90)`, "text-anchor": "middle" }, y));
  for (const point of shown) {
    const [[a, lowA, highA], [b, lowB, highB]] = [point.values[x], point.values[y]];
    if (lowA !== null) picture.append(svg("path", { d: `M${across.place(lowA)} ${up.place(b)}H${across.place(highA)}` }));
    if (lowB !== null) picture.append(svg("path", { d: `M${across.place(a)} ${up.place(lowB)}V${up.place(highB)}` }));
    const mark = svg("path", { d: mark_of(point.method), transform: `translate(${across.place(a)} ${up.place(b)})` });
    mark.append(svg("title", {}, `${point.method}, ${point.study}, ${point.seeds} seed${point.seeds > 1 ? "s" : ""}`));
    picture.append(mark);
  }
  methods.forEach((method, k) => {
    picture.append(svg("path", { d: mark_of(method), transform: `translate(${width - 150} ${30 + 24 * k})` }));
    picture.append(svg("text", { x: width - 135, y: 35 + 24 * k }, method));
  });
  drawing.replaceChildren(picture);
}

if (points.length) {
  const select = (label, names, chosen) => {
    const list = make("select", {}, ...names.map((name) => make("option", { value: name, textContent: name || "all" })));
    list.value = names.includes(chosen) ? chosen : names[0];
    document.querySelector("#plot .tools").append(make("label", {}, `${label}: `, list));
    return list;
  };
  const lists = [
    select("Across", metrics, "train_seconds"),
    select("Up", metrics, "test_accuracy"),
    select("Study", ["", ...new Set(points.map((point) => point.study))], "main"),
  ];
  const again = () => draw(...lists.map((list) => list.value));
  for (const list of lists) list.addEventListener("change", again);
  document.getElementById("plot").hidden = false;
  again();
}
