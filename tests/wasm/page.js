// The page of the wasm tests: starts workers, ends them, and hands on what they ask of the driver.
/* global window, Worker */

const newWorker = () => new Worker("worker.js", { type: "module" });

/** Resolves with what the worker ends with: `{ type: "done" | "panicked" | "failed" }` and the progress it reported. */
function watch(worker, onProgress = () => {}) {
  return new Promise((resolve) => {
    worker.onerror = (event) => resolve({ type: "failed", message: event.message });
    worker.onmessage = async ({ data }) => {
      if (data.type === "ask") worker.postMessage({ type: "answer", id: data.id, value: await window.driver(data.what, data.argument) });
      else if (data.type === "progress") onProgress(data.number);
      else if (data.type === "broker") new (await import("./rtc-broker.js")).RtcBroker(data.port);
      else resolve(data);
    };
  });
}

async function once(message, onProgress) {
  const worker = newWorker();
  const ended = watch(worker, onProgress);
  worker.postMessage(message);
  const result = await ended;
  worker.terminate();
  return result;
}

window.listTests = async () => (await once({ type: "tests" })).result;

window.runTest = (name) => once({ type: "run", name });

/** Likewise in a page of its own, which ends with it. */
window.runInWindow = async (name) => {
  const frame = document.createElement("iframe");
  frame.src = "window.html";
  document.body.append(frame);
  await new Promise((resolve) => (frame.onload = resolve));
  const ended = await frame.contentWindow.run(name);
  frame.remove();
  return ended;
};

/** Runs `name`, ends its worker a moment after `reports` reports of progress, and resolves with the last of them. */
window.interrupt = (name, reports, afterMs) =>
  new Promise((resolve, reject) => {
    const worker = newWorker();
    let seen = 0;
    const onProgress = (number) => {
      seen += 1;
      last = number;
      if (seen === reports) {
        setTimeout(() => {
          worker.terminate();
          resolve(last);
        }, afterMs);
      }
    };
    let last;
    watch(worker, onProgress).then((ended) => reject(new Error(JSON.stringify(ended))));
    worker.postMessage({ type: "run", name });
  });

/** Runs `name` to its end and resolves with the last progress it reported. */
window.lastProgress = async (name) => {
  let last;
  const ended = await once({ type: "run", name }, (number) => (last = number));
  if (ended.type !== "done") throw new Error(ended.message);
  return last;
};

/** Workers with a homeserver in each, by the name the test gives them. */
const hosts = new Map();

window.call = async (host, name, ...args) => {
  if (!hosts.has(host)) {
    const worker = newWorker();
    const waiting = new Map();
    worker.onmessage = ({ data }) => {
      if (data.type === "called") waiting.get(data.id)(data);
      else if (data.type === "panicked") for (const answer of waiting.values()) answer({ error: data.message });
    };
    hosts.set(host, { worker, waiting, calls: 0 });
  }
  const entry = hosts.get(host);
  const id = ++entry.calls;
  const called = new Promise((resolve) => entry.waiting.set(id, resolve));
  entry.worker.postMessage({ type: "call", id, name, args });
  const { result, error } = await called;
  if (error !== undefined) throw new Error(error);
  return result;
};

window.terminate = (host) => {
  hosts.get(host).worker.terminate();
  hosts.delete(host);
};
