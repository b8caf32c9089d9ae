// How fast js-libp2p's connections are: the calls of `speed.rs`, on connections that are there.
import { CHUNK_BYTES, SINK, sampled } from "./measured.js";

const ECHO = "/echo/1.0.0";

/** Takes everything on the stream, then says so. */
export function takeAll(stream) {
  stream.addEventListener("message", () => {});
  stream.addEventListener("remoteCloseWrite", () => {
    stream.send(Uint8Array.of(1));
    void stream.close();
  });
}

export async function roundTrips(connection, bytes, samples, each) {
  const { stream, received } = await open(connection, ECHO);
  const sent = new Uint8Array(bytes);
  const took = await sampled(samples, each, () => {
    const back = received(bytes);
    stream.send(sent);
    return back;
  });
  await stream.close();
  return took;
}

/** Until a stream is opened, and until its first byte has come back: two numbers each. */
export async function openings(connection, count) {
  const took = [];
  for (let n = 0; n < count; n += 1) {
    const started = performance.now();
    const { stream, received, closed } = await open(connection, ECHO);
    took.push(performance.now() - started);
    const back = received(1);
    stream.send(Uint8Array.of(1));
    await back;
    took.push(performance.now() - started);
    await stream.close();
    await closed;
  }
  return took;
}

/** From the first byte until the other side has said that it has all. */
export async function bulk(connection, bytes) {
  const { stream, received } = await open(connection, SINK);
  const chunk = new Uint8Array(CHUNK_BYTES);
  const done = received(1);
  const started = performance.now();
  for (let left = bytes; left > 0; left -= chunk.length) {
    if (!stream.send(chunk.subarray(0, left))) await stream.onDrain();
  }
  const closed = stream.close();
  await done;
  const took = performance.now() - started;
  await closed;
  return took;
}

/** By listeners, which are faster than the iterator. */
async function open(connection, protocol) {
  const stream = await connection.newStream(protocol);
  let unread = 0;
  let wanted = Infinity;
  let enough;
  stream.addEventListener("message", ({ data }) => {
    unread += data.byteLength;
    if (unread < wanted) return;
    unread -= wanted;
    wanted = Infinity;
    enough();
  });
  return {
    stream,
    /** Resolves when so many more bytes have come. */
    received: (bytes) =>
      new Promise((resolve) => {
        wanted = bytes;
        enough = resolve;
      }),
    closed: new Promise((resolve) => stream.addEventListener("close", resolve)),
  };
}
