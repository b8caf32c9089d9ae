// How much linear memory the homeserver's wasm has taken, asked of the debugger: nothing in the page has to tell it.

/** Bytes of all WebAssembly memories of the host worker of `tab`. A memory never shrinks, so this is also the most it took. */
export async function wasmMemoryBytes(browser, tab) {
  const page = await browser.raw.newCDPSession(tab.page);
  try {
    const worker = await attach(page, (url) => url.includes("host-worker"));
    const { result } = await worker("Runtime.evaluate", { expression: "WebAssembly.Memory.prototype" });
    const { objects } = await worker("Runtime.queryObjects", { prototypeObjectId: result.objectId });
    const sum = "function () { return this.reduce((sum, { buffer }) => sum + buffer.byteLength, 0); }";
    const answer = await worker("Runtime.callFunctionOn", { objectId: objects.objectId, functionDeclaration: sum, returnByValue: true });
    return answer.result.value;
  } finally {
    await page.detach();
  }
}

/** A function that sends a command to the worker whose URL `isWanted`. */
async function attach(page, isWanted) {
  const found = new Promise((resolve) => {
    page.on("Target.attachedToTarget", ({ sessionId, targetInfo }) => isWanted(targetInfo.url) && resolve(sessionId));
  });
  await page.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const sessionId = await found;
  const answers = new Map();
  page.on("Target.receivedMessageFromTarget", ({ sessionId: from, message }) => {
    const answer = JSON.parse(message);
    if (from === sessionId) answers.get(answer.id)?.(answer);
  });
  return async (method, params) => {
    const id = answers.size + 1;
    const answered = new Promise((resolve) => answers.set(id, resolve));
    await page.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params }) });
    const { result, error } = await answered;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
}
