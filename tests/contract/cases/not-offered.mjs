// What a homeserver like this one cannot honour, and says so.

const EMAIL = { client_secret: "secret", email: "ada@example.org", send_attempt: 1 };
const PHONE = { client_secret: "secret", country: "GB", phone_number: "07700900001", send_attempt: 1 };
const NO_MAIL = "it sends no mail and no text messages";
const NO_SSO = "there is no provider to log in with";

const refused = (status, errcode, body, as) => ({ refused: { status, errcode, request: (w) => ({ as: as?.(w), body }) }, why: NO_MAIL });
const ada = (w) => w.ada;

/** Nobody has an identifier, so this one is gone; no identity server is told. */
const gone = () => ({
  works: (w) => ({ as: w.ada, body: { medium: "email", address: "ada@example.org" } }),
  refused: { status: 400, errcode: "M_MISSING_PARAM", request: (w) => ({ as: w.ada, body: { medium: "email" } }) },
});

export const notOffered = {
  requestTokenToRegisterEmail: refused(403, "M_THREEPID_DENIED", EMAIL),
  requestTokenToRegisterMSISDN: refused(403, "M_THREEPID_DENIED", PHONE),
  requestTokenTo3PIDEmail: refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", EMAIL),
  requestTokenTo3PIDMSISDN: refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", PHONE),
  requestTokenToResetPasswordEmail: refused(400, "M_THREEPID_NOT_FOUND", EMAIL),
  requestTokenToResetPasswordMSISDN: refused(400, "M_THREEPID_NOT_FOUND", PHONE),
  getAccount3PIDs: { works: (w) => ({ as: w.ada }), refused: { status: 401, errcode: "M_MISSING_TOKEN", request: () => ({}) } },
  post3PIDs: refused(403, "M_THREEPID_AUTH_FAILED", { three_pid_creds: { client_secret: "s", id_server: "id.example.org", id_access_token: "t", sid: "1" } }, ada),
  add3PID: refused(403, "M_THREEPID_AUTH_FAILED", { client_secret: "s", sid: "1" }, ada),
  bind3PID: refused(403, "M_SERVER_NOT_TRUSTED", { client_secret: "s", id_server: "id.example.org", id_access_token: "t", sid: "1" }, ada),
  delete3pidFromAccount: gone(),
  unbind3pidFromAccount: gone(),
  redirectToSSO: { refused: { status: 404, request: () => ({ query: { redirectUrl: "https://client.example.org" } }) }, why: NO_SSO },
  redirectToIdP: { refused: { status: 404, request: () => ({ path: { idpId: "any" }, query: { redirectUrl: "https://client.example.org" } }) }, why: NO_SSO },
  getAuthMetadata: { refused: { status: 404, errcode: "M_UNRECOGNIZED", request: () => ({}) }, why: NO_SSO },
  getWellknownSupport: { refused: { status: 404, request: () => ({}) }, why: "nobody was named in its configuration" },
  getWellknownPolicy: { refused: { status: 404, request: () => ({}) }, why: "it is not a policy server" },
};
