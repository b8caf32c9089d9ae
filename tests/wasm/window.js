// Runs one test of the wasm in this page: what only a page can do.
/* global window, location */

window.run = async (name) => {
  const panicked = new Promise((resolve) => (globalThis.warrenPanicked = (message) => resolve({ type: "panicked", message })));
  const wasm = await import(new URL("pkg/warren_wasm_tests.js", location.href).href);
  await wasm.default();
  const failed = (error) => ({ type: "failed", message: `${error}\n${error?.stack}` });
  return Promise.race([panicked, wasm.run(name).then(() => ({ type: "done" }), failed)]);
};
