// The ticked runs side by side: figures, the best of each bold, and the parameters in which they differ.

function bestOf(column, texts) { // of what is shown: a lead that no decimal place shows is none
  const numbers = texts.filter(Boolean).map(Number);
  if (!column.better || new Set(numbers).size < 2) return null;
  return column.better === "high" ? Math.max(...numbers) : Math.min(...numbers);
}

function sideRow(column, names) {
  const texts = names.map((name) => asText(column.key, valueOf(name, column.key)));
  const best = bestOf(column, texts);
  const isBest = (text) => best !== null && text !== "" && Number(text) === best;
  const classOf = (text) => (isBest(text) ? "number best" : column.number ? "number" : "text");
  const cells = texts.map((text) => make("td", { className: classOf(text) }, text));
  return make("tr", {}, make("td", { className: "nowrap" }, column.label), ...cells);
}

function compareTicked() {
  const names = everyRun.filter((name) => ticked.has(name));
  element("bar").hidden = element("compare").hidden = !names.length;
  element("ticked").textContent = `${names.length} ticked`;
  if (!names.length) return;
  const isTold = (column) => names.some((name) => !isMissing(valueOf(name, column.key)));
  const isDifferent = (column) => new Set(names.map((name) => valueOf(name, column.key))).size > 1;
  const figures = columns.filter((column) => column.metric && isTold(column));
  const inWords = ["corpus", "split", "model"]; // of parameters that are listed themselves
  const others = columns.filter((column) => !column.metric && isDifferent(column) && !inWords.includes(column.key));
  const linkTo = (name) => rowOf.get(name).querySelector("a, .name").cloneNode(true);
  const links = names.map((name) => make("th", { className: "number" }, linkTo(name)));
  const part = (title) => make("tr", { className: "part" }, make("th", { colSpan: names.length + 1 }, title));
  element("side").replaceChildren(
    make("thead", {}, make("tr", {}, make("th"), ...links)),
    make("tbody", {}, ...figures.map((column) => sideRow(column, names)),
      part(others.length ? "In what they differ" : "They differ in no parameter."),
      ...others.map((column) => sideRow(column, names))),
  );
  element("command").textContent = `ser compare ${names.join(" ")}`;
}

document.addEventListener("runs-shown", compareTicked);
element("go").addEventListener("click", () => element("compare").scrollIntoView());
update();
