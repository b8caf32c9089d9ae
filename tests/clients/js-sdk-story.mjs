// matrix-js-sdk, unmodified, in Node. Argument: the base URL of a homeserver.
import { talk } from "./js-sdk.mjs";

// Part of JavaScript since 2024, and used by the SDK; Node 20 does not have it.
Promise.withResolvers ??= () => {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

await talk(process.argv[2]);
// Its timers go on without it.
process.exit();
