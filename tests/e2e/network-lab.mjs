// Small networks inside this machine, for the stories about routers: each host and each router is a network namespace,
// joined by veth pairs. Needs root (CAP_NET_ADMIN) on Linux, `ip` and `nft`.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

/** Where the relay is: an address of the documentation's range that no real network has. */
export const RELAY_ADDRESS = "198.51.100.1";

const CAP_NET_ADMIN = 12n;
let labs = 0;

/** Whether this process may make networks. Where it may, the stories must not be skipped. */
export function mayMakeNetworks() {
  if (process.platform !== "linux") return false;
  const [, effective] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

/**
 * How a router treats UDP: "cone" keeps one outer port for an inner one, whomever it talks to, and lets in only who was
 * spoken to; "symmetric" takes another outer port for everybody; "blocked" lets none through.
 * @typedef {"cone" | "symmetric" | "blocked"} Router
 */

/** An internet with a relay's place in it, routers on it, and hosts behind those. */
export class NetworkLab {
  #prefix = `wl${process.pid % 100_000}${(labs++).toString(36)}`;
  #namespaces = [];
  #directory = mkdtempSync(path.join(os.tmpdir(), "warren-lab-"));
  #networks = 0;

  /** The namespace of the internet, once it has started. */
  internet = `${this.#prefix}net`;

  /** Makes the internet, or with `loopback` only a machine without any network. */
  start({ loopback = false } = {}) {
    this.#namespace("net");
    if (loopback) return;
    this.#in(this.internet, ["ip", "link", "add", "br0", "type", "bridge"]);
    this.#in(this.internet, ["ip", "addr", "add", `${RELAY_ADDRESS}/24`, "dev", "br0"]);
    this.#in(this.internet, ["ip", "link", "set", "br0", "up"]);
  }

  /** A home network behind a router of its own; `host()` adds a machine to it, `plug(machine)` one that has been unplugged. @param {Router} kind */
  home(kind) {
    const n = ++this.#networks;
    const router = this.#namespace(`r${n}`);
    const outer = `198.51.100.${n + 1}`;
    this.#cable(this.internet, "br0", router, "wan", `${outer}/24`);
    this.#in(router, ["ip", "link", "add", "br0", "type", "bridge"]);
    this.#in(router, ["ip", "addr", "add", `10.77.${n}.1/24`, "dev", "br0"]);
    this.#in(router, ["ip", "link", "set", "br0", "up"]);
    this.#in(router, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    this.#in(router, ["nft", "-f", "-"], rules(kind));
    let hosts = 1;
    // Nobody gets an address that somebody had before.
    const plug = (host) => {
      this.#cable(router, "br0", host, "eth0", `10.77.${n}.${++hosts}/24`);
      this.#in(host, ["ip", "route", "add", "default", "via", `10.77.${n}.1`]);
      return host;
    };
    return { outer, plug, host: () => plug(this.#namespace(`h${n}${hosts}`)) };
  }

  /** Takes a machine off its network. */
  unplug(host) {
    this.#in(host, ["ip", "link", "del", "eth0"]);
  }

  /** The path of a script that runs `program` in that namespace with the arguments it is given. */
  wrapper(namespace, program) {
    const file = path.join(this.#directory, `${namespace}-${path.basename(program)}`);
    writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${namespace} ${program} "$@"\n`, { mode: 0o755 });
    return file;
  }

  /** Takes everything away. What still runs in it loses its network. */
  remove() {
    for (const namespace of this.#namespaces.splice(0).reverse()) execFileSync("ip", ["netns", "del", namespace]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #namespace(name) {
    const full = `${this.#prefix}${name}`;
    execFileSync("ip", ["netns", "add", full]);
    this.#namespaces.push(full);
    this.#in(full, ["ip", "link", "set", "lo", "up"]);
    return full;
  }

  /** From a bridge to a new interface with an address. */
  #cable(from, bridge, to, name, address) {
    const plug = `${to.slice(this.#prefix.length)}${name}`.slice(0, 15);
    execFileSync("ip", ["link", "add", plug, "netns", from, "type", "veth", "peer", "name", name, "netns", to]);
    this.#in(from, ["ip", "link", "set", plug, "master", bridge, "up"]);
    this.#in(to, ["ip", "addr", "add", address, "dev", name]);
    this.#in(to, ["ip", "link", "set", name, "up"]);
  }

  #in(namespace, command, input) {
    execFileSync("ip", ["netns", "exec", namespace, ...command], { input, stdio: ["pipe", "pipe", "inherit"] });
  }
}

/** @param {Router} kind */
function rules(kind) {
  return `
    table ip warren {
      chain out {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade ${kind === "symmetric" ? "fully-random" : ""}
      }
      # A packet nobody asked for must leave no trace, or its port would be taken when the answer goes out.
      chain arriving {
        type filter hook input priority filter
        iifname "wan" drop
      }
      chain through {
        type filter hook forward priority filter
        ${kind === "blocked" ? "meta l4proto udp drop" : ""}
        iifname "wan" ct state new drop
      }
    }`;
}
