// What no operation may take: a request that works, made wrong in one place at a time.

const MALFORMED = ["M_BAD_JSON", "M_INVALID_PARAM", "M_MISSING_PARAM"];
const MISSING = ["M_MISSING_PARAM", "M_BAD_JSON"];
/** Something of another type, for each type of JSON. */
const OTHER_TYPE = { string: 5, integer: "five", number: "five", boolean: "yes", object: "none", array: "none" };
/** Identifiers whose grammar is checked, by the names that paths give them. */
const IDENTIFIERS = ["roomId", "userId", "eventId", "roomAlias", "roomIdOrAlias", "serverName"];

/**
 * Every way in which `request` of `operation` is made wrong: `{ name, request, expected: { status, errcodes } }`.
 * @param {object} operation as the specification has it
 * @param {object} request one that would work; `ignores` names what of its body has no meaning beside the rest,
 *   `forAnybody` says that the specification leaves it to the server whether to ask for a token
 * @param {object} [schema] of its body
 */
export function wrongRequests(operation, request, schema) {
  return [...wrongTokens(operation, request), ...wrongBodies(request, schema), ...wrongPaths(request)];
}

function wrongTokens(operation, request) {
  if (!operation.authenticated || !request.as) return [];
  const unnamed = [
    { name: "without a token", request: { ...request, as: undefined }, expected: { status: [401], errcodes: ["M_MISSING_TOKEN"], common: true } },
  ];
  return [
    ...(request.forAnybody ? [] : unnamed),
    { name: "with a token nobody has", request: { ...request, as: { token: "nobody" } }, expected: { status: [401], errcodes: ["M_UNKNOWN_TOKEN"], common: true } },
  ];
}

export function wrongBodies(request, schema) {
  if (!schema || typeof request.body !== "object") return [];
  const { properties = {}, required = [] } = schema;
  const malformed = { status: [400], errcodes: MALFORMED };
  const wrong = [
    { name: "with a body that is no JSON", request: { ...request, raw: "{" }, expected: { status: [400], errcodes: ["M_NOT_JSON"] } },
    { name: "with a body that is no object", request: { ...request, raw: "[]" }, expected: { status: [400], errcodes: ["M_BAD_JSON"] } },
  ];
  for (const name of required) {
    const body = Object.fromEntries(Object.entries(request.body).filter(([key]) => key !== name));
    wrong.push({ name: `without ${name}`, request: { ...request, body }, expected: { status: [400], errcodes: MISSING } });
    if (![properties[name]?.type].flat().includes("null")) wrong.push({ name: `with ${name} null`, request: { ...request, body: { ...body, [name]: null } }, expected: malformed });
  }
  for (const [name, { type }] of Object.entries(properties)) {
    if (!(type in OTHER_TYPE) || request.ignores?.includes(name)) continue;
    wrong.push({ name: `with ${name} of another type`, request: { ...request, body: { ...request.body, [name]: OTHER_TYPE[type] } }, expected: malformed });
  }
  return wrong;
}

export function wrongPaths(request) {
  return IDENTIFIERS.filter((name) => request.path?.[name] !== undefined).map((name) => ({
    name: `with nonsense for ${name}`,
    request: { ...request, path: { ...request.path, [name]: "non sense" } },
    expected: { status: [400, 403, 404], errcodes: undefined },
  }));
}
