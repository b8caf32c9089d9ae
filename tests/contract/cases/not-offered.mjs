// What a homeserver like this one cannot honour, and says so.

const EMAIL = { client_secret: "secret", email: "ada@example.org", send_attempt: 1 };
const PHONE = { client_secret: "secret", country: "GB", phone_number: "07700900001", send_attempt: 1 };
const NO_MAIL = "it sends no mail and no text messages";
const NO_SSO = "there is no provider to log in with";

const denied = (body, as) => ({ refused: { status: 403, errcode: "M_THREEPID_DENIED", request: (w) => ({ as: as?.(w), body }) }, why: NO_MAIL });
const ada = (w) => w.ada;

export const notOffered = {
  requestTokenToRegisterEmail: denied(EMAIL),
  requestTokenToRegisterMSISDN: denied(PHONE),
  requestTokenTo3PIDEmail: denied(EMAIL),
  requestTokenTo3PIDMSISDN: denied(PHONE),
  requestTokenToResetPasswordEmail: denied(EMAIL),
  requestTokenToResetPasswordMSISDN: denied(PHONE),
  getAccount3PIDs: { works: (w) => ({ as: w.ada }), refused: { status: 401, errcode: "M_MISSING_TOKEN", request: () => ({}) } },
  post3PIDs: denied({ three_pid_creds: { client_secret: "s", id_server: "id.example.org", id_access_token: "t", sid: "1" } }, ada),
  add3PID: denied({ client_secret: "s", sid: "1" }, ada),
  bind3PID: denied({ client_secret: "s", id_server: "id.example.org", id_access_token: "t", sid: "1" }, ada),
  delete3pidFromAccount: denied({ medium: "email", address: "ada@example.org" }, ada),
  unbind3pidFromAccount: denied({ medium: "email", address: "ada@example.org" }, ada),
  redirectToSSO: { refused: { status: 404, request: () => ({ query: { redirectUrl: "https://client.example.org" } }) }, why: NO_SSO },
  redirectToIdP: { refused: { status: 404, request: () => ({ path: { idpId: "any" }, query: { redirectUrl: "https://client.example.org" } }) }, why: NO_SSO },
  getAuthMetadata: { refused: { status: 404, errcode: "M_UNRECOGNIZED", request: () => ({}) }, why: NO_SSO },
  getWellknownSupport: { refused: { status: 404, request: () => ({}) }, why: "nobody was named in its configuration" },
  getWellknownPolicy: { refused: { status: 404, request: () => ({}) }, why: "it is not a policy server" },
};
