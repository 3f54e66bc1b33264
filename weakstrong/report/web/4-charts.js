// The training curve, drawn for the width it has.

const curveChart = (curve, width) => {
  const height = Math.round(Math.min(240, 0.5 * width + 40));
  const [left, right, top, bottom] = [46, 12, 12, 40];
  const points = curve.lines.flatMap((line) => line.points);
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const room = Math.max(0.01, 0.08 * (Math.max(...ys) - Math.min(...ys)));
  const [y0, y1] = [Math.max(0, Math.min(...ys) - room), Math.min(1, Math.max(...ys) + room)];
  const x = (value) => left + ((value - x0) / Math.max(x1 - x0, 1e-9)) * (width - left - right);
  const y = (value) => height - bottom - ((value - y0) / Math.max(y1 - y0, 1e-9)) * (height - top - bottom);
  const ticks = (low, high, count) => {
    const raw = (high - low) / count;
    const unit = 10 ** Math.floor(Math.log10(raw || 1));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= raw) || 1;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i += 1) found.push(i * step);
    return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  };
  const across = ticks(y0, y1, 4);
  const along = ticks(x0, x1, Math.max(2, Math.floor(width / 90)));
  const text = (at, down, words, anchor) => draw("text", { x: at, y: down, "text-anchor": anchor }, words);
  const label = `${plural(curve.lines.length, "seed")}: ` + curve.lines.map((line) => {
    const [from, to] = [line.points[0], line.points[line.points.length - 1]];
    return `seed ${line.seed} from ${fixed(from[1], 3)} to ${fixed(to[1], 3)}, best at ${curve.unit} ${line.best}`;
  }).join("; ");
  return draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `Agreement with the weak validation labels. ${label}` },
    across.found.map((value) => [
      draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      text(left - 6, y(value) + 4, value.toFixed(across.digits), "end")]),
    along.found.filter(Number.isInteger).map((value) => text(x(value), height - bottom + 17, String(value), "middle")),
    text((left + width - right) / 2, height - 4, curve.unit, "middle"),
    curve.lines.map((line, i) => {
      const best = line.points.find((point) => point[0] === line.best);
      return draw("g", { class: `hue${i % 6}` },
        draw("polyline", { points: line.points.map((point) => `${x(point[0])},${y(point[1])}`).join(" ") }),
        best ? draw("circle", { cx: x(best[0]), cy: y(best[1]), r: 4 }) : null,
        draw("title", {}, `seed ${line.seed}`));
    }));
};
