// Holds each operation of a specification against a running server: it is called once so that it works, once so that it is
// refused, and wrong in every way that its schema shows; all answers must be as specified.

/**
 * @typedef {object} Sides what differs between one API and another
 * @property {import("./specification.mjs").Specification} specification
 * @property {object} cases for each operation `{ works?, refused, why? }`
 * @property {object} later operations that answer M_UNRECOGNIZED, with the reason
 * @property {(operation: object, request: object) => Promise<{ status: number, headers: { get: (name: string) => string | undefined }, body: any }>} ask
 * @property {(operation: object, request: object, schema?: object) => object[]} wrongRequests
 * @property {(answer: object) => string} [faultOfAny] what every answer is held to besides its schema
 */

/**
 * Checks every operation whose id has one of `words`, or all.
 * @param {Sides} sides
 * @param {{ world: object, name: string, words: string[], report: (line: string) => void }} options
 * @returns {Promise<{ passed: number, failures: { name: string, message: string }[] }>}
 */
export async function runChecks(sides, { world, name, words, report }) {
  const strangers = [...Object.keys(sides.cases), ...Object.keys(sides.later)].filter((id) => !sides.specification.operations.some((operation) => operation.id === id));
  if (strangers.length) throw new Error(`the specification has no ${strangers.join(", ")}`);
  const counted = { passed: 0, failures: [] };
  for (const operation of sides.specification.operations) {
    if (words.length && !words.some((word) => operation.id.includes(word))) continue;
    for (const [what, check] of checksOf(sides, operation)) {
      const message = await check(world).catch((error) => error.stack);
      report(`${message ? "✗" : "✓"} ${operation.id} ${what}`);
      if (message) counted.failures.push({ name: `${name}: ${operation.id} ${what}`, message });
      else counted.passed++;
    }
  }
  return counted;
}

/** The path and query of `operation` as `request` fills them in. */
export function urlOf(operation, { path = {}, query = {} }) {
  const filled = operation.template.replace(/\{(\w+)\}/g, (_, name) => {
    if (path[name] === undefined) throw new Error(`the case says no ${name}`);
    return encodeURIComponent(path[name]);
  });
  const parameters = new URLSearchParams(query).toString();
  return parameters ? `${filled}?${parameters}` : filled;
}

/** Each check resolves with what is wrong, or with nothing. */
function checksOf(sides, operation) {
  if (operation.id in sides.later) return [["is not there yet", isUnrecognized(sides, operation)]];
  const found = sides.cases[operation.id];
  if (!found) return [["has a case", async () => "nobody wrote one"]];
  return [
    ["is refused", isRefused(sides, operation, found.refused)],
    ...(found.works ? [["works, and takes nothing wrong", works(sides, operation, found.works)]] : []),
  ];
}

/** Everything wrong is tried first: what works afterwards shows that none of it had any effect. */
function works(sides, operation, prepare) {
  const { specification } = sides;
  return async (world) => {
    const request = await prepare(world);
    const faults = [];
    for (const wrong of sides.wrongRequests(operation, request, specification.bodySchema(operation))) {
      const fault = await taken(sides, operation, wrong);
      if (fault) faults.push(`${wrong.name}: ${fault}`);
    }
    const answer = await sides.ask(operation, withUnknownField(request));
    const works = answer.status >= 200 && answer.status <= 299;
    faults.push(works ? sides.faultOfAny?.(answer) || (await specification.faults(operation, answer)) : told(answer));
    if (works) faults.push(await request.expects?.(answer.body));
    return faults.filter(Boolean).join("\n");
  };
}

/** Nothing if `wrong` was refused as it should be. */
async function taken(sides, operation, { request, expected }) {
  const answer = await sides.ask(operation, request);
  const { status, body } = answer;
  if (!expected.status.includes(status) || expected.errcodes?.includes(body.errcode) === false) {
    return `expected ${expected.status} ${expected.errcodes ?? ""}, got ${told(answer)}`;
  }
  return sides.faultOfAny?.(answer) || (await sides.specification.faults(expected.common ? undefined : operation, answer));
}

/** What a future version of the specification may add is passed over, except where the body is signed as a whole. */
function withUnknownField(request) {
  const isObject = typeof request.body === "object" && !Array.isArray(request.body) && !request.isEvent;
  return isObject ? { ...request, body: { ...request.body, "org.example.unknown": { of: ["a", "future"] } } } : request;
}

function isRefused(sides, operation, { status, errcode, request }) {
  return async (world) => {
    const answer = await sides.ask(operation, await request(world));
    if (answer.status !== status || (errcode && answer.body.errcode !== errcode)) return `expected ${status} ${errcode ?? ""}, got ${told(answer)}`;
    return sides.faultOfAny?.(answer) || (await sides.specification.faults(operation, answer));
  };
}

function isUnrecognized(sides, operation) {
  return async (world) => {
    const path = Object.fromEntries([...operation.template.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, "x"]));
    const answer = await sides.ask(operation, { as: world.ada, path, body: operation.method === "GET" ? undefined : {} });
    if (answer.status !== 404 || answer.body?.errcode !== "M_UNRECOGNIZED") return `it is in the list of what is not there, and answers ${told(answer)}`;
  };
}

function told({ status, body }) {
  return `${status} ${JSON.stringify(body)}`;
}
