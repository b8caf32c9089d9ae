// The table that `npm run bench` prints: one line a figure, its limit and its aim beside it.

const COLUMNS = ["", "median", "p95 or runs", "limit, measured beside it", "", "ratio", "aim", ""];
/** Columns of words; the others hold numbers, which end below each other. */
const LEFT = new Set([0, 3, 6, 7]);

/** `lines` as `summary.mjs` makes them. */
export function table(title, lines) {
  const rows = [[title, ...COLUMNS.slice(1)], ...lines.map(row)];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  const text = rows.map((cells) => cells.map((cell, column) => (LEFT.has(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join("  ").trimEnd());
  return [text[0], "-".repeat(Math.max(...text.map((line) => line.length))), ...text.slice(1)].join("\n");
}

function row({ name, unit, median, p95, span, samples, limit, ratio, aim, reached }) {
  return [
    name,
    quantity(median, unit),
    spread({ samples, p95, span, unit }),
    limit?.name ?? "",
    limit ? quantity(limit.median, unit) : "",
    ratio === undefined ? "" : `${precise(ratio)} ×`,
    aimText(aim, unit),
    aim ? (reached ? "reached" : "MISSED") : "",
  ];
}

/** The 95th percentile; of runs, the best and the worst. */
function spread({ samples, p95, span, unit }) {
  if (samples <= 1) return "";
  return span ? span.map((end) => quantity(end, unit)).join(" – ") : quantity(p95, unit);
}

function aimText(aim, unit) {
  if (!aim) return "";
  return aim.ratio === undefined ? `≤ ${quantity(aim.value, unit)}` : `≤ ${aim.ratio} ×`;
}

/** A value in the unit a reader takes in best. */
export function quantity(value, unit) {
  if (unit === "bytes") {
    if (value >= 1e6) return `${precise(value / 1e6)} MB`;
    return value >= 1e4 ? `${precise(value / 1e3)} kB` : `${Math.round(value)} B`;
  }
  if (unit === "ms" && value >= 1e3) return `${precise(value / 1e3)} s`;
  if (unit === "µs" && value >= 1e4) return `${precise(value / 1e3)} ms`;
  return `${precise(value)} ${unit}`;
}

function precise(value) {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
