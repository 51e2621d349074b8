// Makes the page from openapi.json. Nodes only, never HTML from strings: what the file says is text.
const root = new URL("../", import.meta.url);
const paths = document.getElementById("paths");
const operations = document.getElementById("operations");

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function field(parameter, id) {
  const { enum: choices } = parameter.schema;
  if (!choices) return node("input", { id, name: parameter.name, autocomplete: "off", spellcheck: "false" });
  return node("select", { id, name: parameter.name }, ...["", ...choices].map((each) => node("option", {}, each)));
}

function rows(operation) {
  return (operation.parameters ?? []).filter(({ in: place }) => place !== "header").flatMap((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const label = node("label", { for: id }, parameter.name);
    if (parameter.required) label.append(node("span", { class: "required" }, " required"));
    return [label, field(parameter, id), node("span", { class: "about" }, parameter.description ?? "")];
  });
}

function address(path, operation, form) {
  const given = Object.fromEntries(new FormData(form));
  let filled = path;
  const query = new URLSearchParams();
  for (const { name, in: place } of operation.parameters ?? []) {
    if (!given[name]) continue;
    if (place === "path") filled = filled.replace(`{${name}}`, encodeURIComponent(given[name]));
    else if (place === "query") query.set(name, given[name]);
  }
  return new URL(filled.slice(1) + (query.size ? `?${query}` : ""), root);
}

const SHOWN = 20_000; // characters: a table may be of any length

async function ask(url, output) {
  output.hidden = false;
  output.textContent = `GET ${url} …`;
  try {
    const response = await fetch(url);
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    const shown = isJson ? JSON.stringify(JSON.parse(text), null, 2) : text;
    output.textContent = `GET ${url}\n${response.status} ${response.statusText}\n\n${shown.slice(0, SHOWN)}${shown.length > SHOWN ? "\n…" : ""}`;
  } catch (error) {
    output.textContent = `GET ${url}\nno answer: ${error.message}`;
  }
}

function tryIt(path, operation) {
  const output = node("pre", { tabindex: "0", "aria-live": "polite", hidden: "" });
  const form = node("form", {}, ...rows(operation), node("button", {}, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(address(path, operation, form), output);
  });
  return [form, output];
}

function schema(document_, operation) {
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  const name = answer?.$ref?.split("/").pop();
  if (!name) return [];
  const text = JSON.stringify(document_.components.schemas[name], null, 2);
  return [node("details", {}, node("summary", {}, `Answer: ${name}`), node("pre", { tabindex: "0" }, text))];
}

function section(document_, path, operation) {
  const isStream = Boolean(operation.responses["200"]?.content?.["text/event-stream"]);
  const how = isStream ? [node("pre", {}, `curl -N "${new URL(path.slice(1), root)}"`)] : tryIt(path, operation);
  const id = operation.operationId;
  return node("section", { id, "aria-labelledby": `${id}-path` },
    node("h2", { id: `${id}-path` }, `GET ${path}`), node("p", {}, operation.summary),
    ...how, ...schema(document_, operation));
}

try {
  const response = await fetch(new URL("openapi.json", root));
  const document_ = await response.json();
  const made = Object.entries(document_.paths).map(([path, { get }]) => [path, get]);
  paths.append(...made.map(([path, get]) => node("li", {}, node("a", { href: `#${get.operationId}` }, path))));
  operations.replaceChildren(...made.map(([path, get]) => section(document_, path, get)));
} catch (error) {
  operations.replaceChildren(node("p", { role: "alert" }, `openapi.json could not be read: ${error.message}`));
}
operations.setAttribute("aria-busy", "false");
