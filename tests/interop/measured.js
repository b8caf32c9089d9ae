// How a call to a peer is answered across processes, and what those who measure agree on.

/** Resolves with `{ ms, result }`, or with `{ error }`. */
export async function measured(work) {
  const started = performance.now();
  try {
    const result = await work();
    const ms = performance.now() - started;
    // Not every driver passes on typed arrays.
    return { ms, result: ArrayBuffer.isView(result) ? [...result] : result };
  } catch (error) {
    return { error: inFull(error) };
  }
}

/** An error with its stack and, since Firefox's stacks do not say it, what went wrong; and the same of what it is made of. */
function inFull(error) {
  const said = String(error);
  const stack = error?.stack ?? "";
  const within = error?.errors ?? (error?.cause === undefined ? [] : [error.cause]);
  return [stack.includes(said) ? stack : `${said}\n${stack}`, ...within.map(inFull)].join("\n");
}

/** The protocol that takes everything and says so with one byte when it has all. */
export const SINK = "/sink/1.0.0";

/** What is handed over at a time of what is sent in bulk. */
export const CHUNK_BYTES = 64 * 1024;

/** The mean of `each` times in a row, `samples` times: one alone is too short for a browser's clock. */
export async function sampled(samples, each, work) {
  const took = [];
  for (let n = 0; n < samples; n += 1) {
    const started = performance.now();
    for (let round = 0; round < each; round += 1) await work();
    took.push((performance.now() - started) / each);
  }
  return took;
}
