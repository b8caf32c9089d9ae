// The two sides of a federation, each a homeserver of one kind behind a cable that can be cut. A side has: `name`,
// `serverName`, `register(username)`, `cut()`, `mend()`, `end()`.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startNode } from "../warren-node.mjs";
import { freePort, layCable } from "./cable.mjs";
import { Person } from "./person.mjs";
import { startSynapse } from "./process.mjs";

const START_ATTEMPTS = 3;
/** Tests do not wait for minutes. */
const SOON = { first: "500", longest: "2s" };

/** Makes `ca.pem`, `cert.pem` and `key.pem` in `directory`. */
export function makeCertificates(python, directory) {
  execFileSync(python, [fileURLToPath(new URL("certificates.py", import.meta.url)), directory]);
}

/** A `warren node` that others find at `localhost:<port of its cable>`. */
export async function warrenSide(program, certificates, directory, name = "warren") {
  const port = await freePort();
  const cable = await layCable(port);
  const serverName = `localhost:${cable.port}`;
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((file) => path.join(certificates, file));
  const tls = ["--federation-listen", `127.0.0.1:${port}`, "--tls-cert", cert, "--tls-key", key, "--ca", ca];
  const flags = ["--server-name", serverName, ...tls, "--allow-private-ips"];
  const running = await startNode(path.join(directory, name), { program, flags });
  return side(name, serverName, cable, running);
}

/**
 * The Synapse of `python`, found in the same way. Its ports are free when they are chosen; should one be taken since, others are.
 * @param {{ environment?: object, retry?: { first: string, longest: string } }} settings variables for its process; how long it
 *   leaves a server alone that it could not reach
 */
export async function synapseSide(python, certificates, directory, name = "synapse", settings = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await synapseBehindCable(python, certificates, path.join(directory, `${name}-${attempt}`), name, settings);
    } catch (error) {
      if (attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function synapseBehindCable(python, certificates, home, name, { environment, retry = SOON }) {
  mkdirSync(home);
  const [port, clientPort] = [await freePort(), await freePort()];
  const cable = await layCable(port);
  const serverName = `localhost:${cable.port}`;
  const listeners = [`{ port: ${port}, type: http, tls: true, bind_addresses: ["127.0.0.1"], resources: [{ names: [federation] }] }`];
  const configuration = federating(certificates, retry);
  let running;
  try {
    running = await startSynapse(python, home, { serverName, clientPort, listeners, configuration, logLevel: "INFO", environment });
  } catch (error) {
    cable.end();
    throw error;
  }
  /** For how long it leaves `destination` alone after it could not reach it, in milliseconds; 0 where it does not. */
  const leavesAlone = (destination) => {
    const program = "import sqlite3, sys; print(next(sqlite3.connect(sys.argv[1]).execute('select retry_interval from destinations where destination = ?', sys.argv[2:]), [0])[0])";
    return Number(execFileSync(python, ["-c", program, path.join(home, "synapse.db"), destination], { encoding: "utf8" }));
  };
  return { ...side(name, serverName, cable, running), leavesAlone };
}

function side(name, serverName, cable, { url, end }) {
  return {
    name,
    serverName,
    url,
    register: (username) => Person.register(url, username),
    cut: cable.cut,
    mend: cable.mend,
    end: async () => {
      await end("SIGTERM");
      cable.end();
    },
  };
}

/** What a Synapse is told that federates on one machine, and again soon with whom it could not reach. */
function federating(certificates, retry) {
  return `
tls_certificate_path: ${certificates}/cert.pem
tls_private_key_path: ${certificates}/key.pem
federation_custom_ca_list: [${certificates}/ca.pem]
ip_range_blacklist: []
federation_ip_range_blacklist: []
allow_public_rooms_over_federation: true
room_list_publication_rules: [{ action: allow }]
federation:
  destination_min_retry_interval: ${retry.first}
  destination_retry_multiplier: 2
  destination_max_retry_interval: ${retry.longest}
  max_short_retries: 1
  max_long_retries: 1
  max_long_retry_delay: 1s
rc_federation: { window_size: 1000, sleep_limit: 1000000, reject_limit: 1000000, concurrent: 100 }
`;
}
