// Finds the browsers and tools that the tests drive, and installs them where that can be done without asking.
import { existsSync } from "node:fs";
import { Explained, step } from "./step.mjs";
import { answerOf } from "./setup.mjs";
import { mayMakeNetworks } from "../tests/e2e/network-lab.mjs";

/** What each is called: the environment variable that names one, and the usual names. */
const BROWSERS = {
  chromium: { variable: "WARREN_CHROMIUM", commands: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"], debian: "chromium" },
  firefox: { variable: "WARREN_FIREFOX", commands: ["firefox-esr", "firefox"], debian: "firefox-esr" },
};

/** What the stories about routers need, and the Debian package of each. */
const NETWORK_TOOLS = { ip: "iproute2", nft: "nftables" };

/** The path of `kind`, or undefined. */
export function findBrowser(kind) {
  const { variable, commands } = BROWSERS[kind];
  const named = process.env[variable];
  if (named && existsSync(named)) return named;
  return commands.map((command) => answerOf("sh", "-c", `command -v ${command}`)).find(Boolean);
}

/** Installs what is missing, as root (or by sudo without a password) on Debian and its kin; says what to do elsewhere. */
export async function installBrowsers() {
  const missing = Object.keys(BROWSERS).filter((kind) => !findBrowser(kind));
  const tools = mayMakeNetworks() ? Object.keys(NETWORK_TOOLS).filter((tool) => !answerOf("sh", "-c", `command -v ${tool}`)) : [];
  const packages = [...missing.map((kind) => BROWSERS[kind].debian), ...tools.map((tool) => NETWORK_TOOLS[tool])];
  const variables = missing.map((kind) => BROWSERS[kind].variable).join(", ");
  await installDebianPackages(packages, [...missing, ...tools].join(", "), variables && ` or name browsers in ${variables}`);
}

/** Installs `packages` of Debian, which are `what` in words; throws an explanation, with `otherwise` in it, where it cannot. */
export async function installDebianPackages(packages, what, otherwise = "") {
  if (!packages.length) return;
  const asRoot = process.getuid?.() === 0 ? [] : answerOf("sudo", "-n", "true") === undefined ? undefined : ["sudo", "-n"];
  if (!asRoot || !answerOf("apt-get", "--version")) {
    throw new Explained(`The tests need ${what}: install it (Debian: \`apt install ${packages.join(" ")}\`)${otherwise}.`);
  }
  await step(`Debian packages: ${packages.join(", ")}`, async (run) => {
    const [command, ...args] = [...asRoot, "apt-get"];
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    await run(command, [...args, "update", "-q"], { env });
    await run(command, [...args, "install", "-y", "-q", "--no-install-recommends", ...packages], { env });
  });
}
