// Pictures, drawn by Plotly: learning curves of the ticked runs, and one value against another over the runs shown.

const PALETTE = [
  "#1f5fa8", "#d55e00", "#009e73", "#a3428f", "#8a6d00", "#b00020", "#3aa0d8", "#444b59", "#6a51a3", "#4d7c0f",
];
const SYMBOLS = ["circle", "diamond", "square", "cross"]; // once the colours are used up
const NONE = "none";
const BUTTONS = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];
const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: BUTTONS };
const literal = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // Plotly reads markup
const lookOf = (index) => ({
  color: PALETTE[index % PALETTE.length],
  symbol: SYMBOLS[Math.floor(index / PALETTE.length) % SYMBOLS.length],
});
const labelOf = (key) => columnOf[key].label;

function layout(across, up, nNames) {
  const isNarrow = innerWidth < 700;
  const axis = ({ title, ...options }) => ({
    title: { text: literal(title), standoff: 10 },
    automargin: true,
    gridcolor: "#e3e7ee",
    linecolor: "#98a1b0",
    zeroline: false,
    ...options,
  });
  return {
    font: { color: "#1c2330", family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { t: 30, r: 10, l: 55, b: 50 },
    ...(isNarrow ? { height: 320 + 24 * nNames } : {}),
    legend: isNarrow ? { orientation: "h", yref: "container", y: 0, yanchor: "bottom" } : {},
    showlegend: true,
    hovermode: "closest",
    xaxis: axis(across),
    yaxis: axis(up),
  };
}

function drawCurves() {
  const names = everyRun.filter((name) => ticked.has(name));
  if (!names.length) return;
  const quantity = element("quantity").value;
  const lines = names.flatMap((name, index) => {
    const { color, symbol } = lookOf(index);
    const { history } = runs[name];
    const line = (key, dash) => ({
      x: history[key]?.map((_, epoch) => epoch + 1),
      y: history[key],
      name: literal(name),
      legendgroup: name,
      mode: history[key]?.length > 1 && symbol === SYMBOLS[0] ? "lines" : "lines+markers",
      line: { color, dash, width: 1.8 },
      marker: { color, symbol },
      hovertemplate: `${literal(name)}, ${literal(key)}<br>epoch %{x}: %{y:.4g}<extra></extra>`,
    });
    const training = { ...line(quantity, `val_${quantity}` in history ? "dot" : "solid") };
    const validation = line(`val_${quantity}`, "solid");
    return validation.y ? [validation, { ...training, showlegend: false }] : [training];
  });
  const title = element("quantity").selectedOptions[0].text;
  const axes = [{ title: "epoch", rangemode: "tozero" }, { title }];
  Plotly.react("curves", lines.filter((line) => line.y), layout(...axes, names.length), CONFIG);
}

function isLogarithmic(values) {
  return values.length > 0 && values.every((value) => typeof value === "number" && value > 0)
    && Math.max(...values) / Math.min(...values) >= 50;
}

function axisOf(key, values) {
  if (isLogarithmic(values) && !columnOf[key].metric) return { title: `${labelOf(key)} (logarithmic)`, type: "log" };
  const isNumeric = values.every((value) => typeof value === "number");
  return { title: labelOf(key), type: isNumeric ? "linear" : key === "started" ? "date" : "category" };
}

function drawScatter() {
  const [across, up, colour] = ["across", "up", "colour"].map((id) => element(id).value);
  const names = shown.filter((name) => [across, up].every((key) => !isMissing(valueOf(name, key))));
  const groupOf = (name) => {
    if (colour === NONE) return "";
    const value = colour === "study" ? runs[name].study : valueOf(name, colour);
    return isMissing(value) ? NONE : String(value);
  };
  const groups = [...new Set(names.map(groupOf))].sort(compareTexts);
  const traces = groups.map((group, index) => {
    const members = names.filter((name) => groupOf(name) === group);
    return {
      x: members.map((name) => valueOf(name, across)),
      y: members.map((name) => valueOf(name, up)),
      name: literal(group),
      text: members.map(literal),
      customdata: members,
      mode: "markers",
      marker: {
        ...lookOf(index),
        size: 9,
        opacity: 0.8,
        line: { color: "#1c2330", width: members.map((name) => (ticked.has(name) ? 2.5 : 0)) },
      },
      hovertemplate: `%{text}<br>${literal(labelOf(across))}: %{x}<br>${literal(labelOf(up))}: %{y}<extra></extra>`,
    };
  });
  const axes = [across, up].map((key) => axisOf(key, names.map((name) => valueOf(name, key))));
  const isColoured = colour !== NONE;
  const whole = { ...layout(...axes, isColoured ? groups.length : 0), showlegend: isColoured };
  Plotly.react("scatter", traces, whole, CONFIG);
}

function offer(id, keys, preferred) {
  element(id).append(...keys.map(([key, label]) => make("option", { value: key }, label)));
  element(id).value = preferred.find((key) => keys.some(([one]) => one === key)) ?? keys[0][0];
  element(id).addEventListener("input", drawScatter);
}

function offerScatter() {
  const pairs = (kept) => columns.filter(kept).map(({ key, label }) => [key, label]);
  const hasValues = (key) => everyRun.some((name) => !isMissing(valueOf(name, key)));
  const isDrawn = ({ key }) => !["note", "tags"].includes(key) && hasValues(key);
  const isGroup = (column) => isDrawn(column) && !column.metric && !["started", "seconds"].includes(column.key);
  const metrics = pairs((column) => column.metric && isDrawn(column));
  if (!metrics.length) return;
  element("against").hidden = false;
  offer("up", metrics, ["uar"]);
  offer("across", pairs(isDrawn), ["validation_uar"]);
  offer("colour", [[NONE, NONE], ["study", "study"], ...pairs(isGroup)], ["model"]);
  drawScatter();
  element("scatter").on("plotly_click", ({ points: [{ customdata: name }] }) => tick([name], !ticked.has(name)));
  document.addEventListener("runs-shown", drawScatter);
}

document.addEventListener("runs-shown", drawCurves);
element("quantity").addEventListener("input", drawCurves);
offerScatter();
