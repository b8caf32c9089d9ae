// Bundles the page into dist/, with a brotli and a gzip twin of everything that shrinks.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { SITE, WASM } from "./places.mjs";
import { Explained, step } from "./step.mjs";
import { unlessDone } from "./stamp.mjs";

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);
const COMPRESSIBLE = /\.(html|js|css|wasm|svg|json|webmanifest)$/;
/** The homeserver is longer than the window is by default. */
const BROTLI = { [zlib.constants.BROTLI_PARAM_LGWIN]: zlib.constants.BROTLI_MAX_WINDOW_BITS };
/** Brotli's best level takes long for large files. Every first visit fetches the homeserver, and none this. */
const SELDOM_FETCHED = /matrix_sdk_crypto/;

/** Needs `WASM` to be built. The build's name is the digest of all that went into it. */
export async function buildPage() {
  const inputs = ["www", "webpack.config.js", "package-lock.json", "scripts/page.mjs", WASM];
  await unlessDone("page", inputs, [path.join(SITE, "index.html")], (digest) =>
    step("Page", async () => {
      const build = { id: digest.slice(0, 16), time: Date.now() };
      await bundle({ build, wasm: WASM });
      writeFileSync(path.join(SITE, "build.json"), JSON.stringify(build));
      await compress(SITE);
      return `build ${build.id}`;
    }),
  );
}

async function bundle(options) {
  // Imported late: set-up has to work before there are packages.
  const { default: webpack } = await import("webpack");
  const { default: config } = await import("../webpack.config.js");
  const compiler = webpack(config(options));
  const stats = await promisify(compiler.run.bind(compiler))();
  await promisify(compiler.close.bind(compiler))();
  if (stats.hasErrors() || stats.hasWarnings()) throw new Explained(stats.toString("errors-warnings"));
}

async function compress(folder) {
  await Promise.all(
    readdirSync(folder, { recursive: true, withFileTypes: true }).map(async (entry) => {
      const file = path.join(entry.parentPath, entry.name);
      if (!entry.isFile() || !COMPRESSIBLE.test(file)) return;
      const bytes = readFileSync(file);
      const quality = SELDOM_FETCHED.test(entry.name) ? 9 : 11;
      const twins = {
        br: await brotli(bytes, { params: { ...BROTLI, [zlib.constants.BROTLI_PARAM_QUALITY]: quality } }),
        gz: await gzip(bytes, { level: 9 }),
      };
      for (const [extension, twin] of Object.entries(twins)) {
        if (twin.length < bytes.length) writeFileSync(`${file}.${extension}`, twin);
      }
    }),
  );
}
