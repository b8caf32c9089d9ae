// How a call to a peer is answered across processes.

/** Resolves with `{ ms, result }`, or with `{ error }`. */
export async function measured(work) {
  const started = performance.now();
  try {
    const result = await work();
    return { ms: performance.now() - started, result };
  } catch (error) {
    return { error: error?.stack ?? String(error) };
  }
}
