// Runs one test of the wasm in a worker of its own, or a homeserver for the tests that need two.
/* global postMessage, location, MessageChannel */
let answers = new Map();
let asked = 0;

globalThis.warrenPanicked = (message) => postMessage({ type: "panicked", message });
globalThis.reportProgress = (number) => postMessage({ type: "progress", number });
globalThis.askDriver = (what, argument) => {
  const id = ++asked;
  postMessage({ type: "ask", id, what, argument });
  return new Promise((resolve) => answers.set(id, resolve));
};
globalThis.newBroker = () => {
  const { port1, port2 } = new MessageChannel();
  postMessage({ type: "broker", port: port2 }, [port2]);
  return port1;
};

// For tests written here and not in Rust: whatever they call is awaited in turn.
let host;
let status;
const calls = {
  /** As if it were in another browser: only a relay leads to others. */
  startApart: async (wasm, config) => {
    delete globalThis.BroadcastChannel;
    await calls.start(wasm, config);
  },
  start: async (wasm, config) => {
    host = await wasm.Host.start(config, (latest) => (status = latest));
  },
  handle: async (wasm, method, url, headers, json) => {
    const body = json === undefined ? undefined : new TextEncoder().encode(JSON.stringify(json));
    const answer = await host.handle(method, url, headers, body);
    const text = new TextDecoder().decode(answer.body);
    return { status: answer.status, headers: answer.headers, json: text ? JSON.parse(text) : undefined };
  },
  handleRaw: async (wasm, ...args) => (await host.handle(...args)).status,
  status: async () => status,
  stop: async () => host.stop(),
};

globalThis.onmessage = async ({ data }) => {
  if (data.type === "answer") {
    answers.get(data.id)(data.value);
    return;
  }
  try {
    const wasm = await import(new URL("pkg/warren_wasm_tests.js", location.href).href);
    await wasm.default();
    if (data.type === "tests") postMessage({ type: "done", result: wasm.tests() });
    if (data.type === "run") postMessage({ type: "done", result: await wasm.run(data.name) });
    if (data.type === "call") postMessage({ type: "called", id: data.id, result: await calls[data.name](wasm, ...data.args) });
  } catch (error) {
    const message = error instanceof Error ? `${error}\n${error.stack}` : JSON.stringify(error);
    postMessage(data.type === "call" ? { type: "called", id: data.id, error: message } : { type: "failed", message });
  }
};
