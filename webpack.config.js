// Bundles the page: the app with its host worker, and the service worker; the wasm is an asset. `npm run build` runs it.
import { readFile } from "node:fs/promises";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { EsbuildPlugin } from "esbuild-loader";
import webpack from "webpack";

const root = path.dirname(fileURLToPath(import.meta.url));
const BROWSER_TARGET = "es2022";
/** Copied to the site's root as they are: icons, manifest. */
const STATIC_DIRECTORY = path.join(root, "www/app/static");
/** Chunks a first visit never needs; the service worker keeps them only once they were fetched. */
const NOT_PRECACHED = /matrix_sdk_crypto|rust-crypto|\.map$|\.txt$/;

/** Writes index.html from its template and tells the service worker what the shell of the app consists of. */
class SitePlugin {
  constructor(build) {
    this.build = build;
  }

  apply(compiler) {
    compiler.hooks.thisCompilation.tap("SitePlugin", (compilation) => {
      const { PROCESS_ASSETS_STAGE_ADDITIONS, PROCESS_ASSETS_STAGE_REPORT } = webpack.Compilation;
      const { RawSource } = webpack.sources;
      compilation.hooks.processAssets.tap({ name: "SitePlugin", stage: PROCESS_ASSETS_STAGE_ADDITIONS }, () => {
        for (const name of existsSync(STATIC_DIRECTORY) ? readdirSync(STATIC_DIRECTORY) : []) {
          const file = path.join(STATIC_DIRECTORY, name);
          compilation.fileDependencies.add(file);
          compilation.emitAsset(name, new RawSource(readFileSync(file)));
        }
      });
      // After minimising and real content hashes, so that the names are final.
      compilation.hooks.processAssets.tapPromise({ name: "SitePlugin", stage: PROCESS_ASSETS_STAGE_REPORT }, async () => {
        const template = path.join(root, "www/app/index.html");
        compilation.fileDependencies.add(template);
        const html = (await readFile(template, "utf8")).replace("</head>", `${headTags(compilation)}</head>`);
        compilation.emitAsset("index.html", new RawSource(html));
        const shell = ["/", ...compilation.getAssets().map(({ name }) => `/${name}`)]
          .filter((url) => !NOT_PRECACHED.test(url) && !["/index.html", "/service-worker.js"].includes(url))
          .sort();
        const manifest = JSON.stringify({ build: this.build.id, shell });
        compilation.updateAsset("service-worker.js", (old) => {
          const source = old.source().toString();
          if (!source.includes("__WARREN_SHELL__")) throw new Error("service-worker.js lost its place for the list of assets");
          return new RawSource(`self.__WARREN_SHELL__=${manifest};${source}`);
        });
      });
    });
  }
}

function headTags(compilation) {
  const files = compilation.entrypoints.get("app").getFiles();
  const scripts = files.filter((file) => file.endsWith(".js")).map((file) => `<script defer src="/${file}"></script>`);
  const styles = files.filter((file) => file.endsWith(".css")).map((file) => `<link rel="stylesheet" href="/${file}">`);
  return [...styles, ...scripts].join("");
}

/**
 * @param {{ build?: { id: string, time: number }, wasm?: string, output?: string, production?: boolean }} options
 * `build` names this build; `wasm` is the folder with wasm-bindgen's output.
 */
export default function config({ build = { id: "development", time: 0 }, wasm, output, production = true } = {}) {
  return {
    mode: production ? "production" : "development",
    context: root,
    devtool: production ? "source-map" : "inline-source-map",
    entry: {
      app: "./www/app/index.tsx",
      "service-worker": { import: "./www/service-worker/index.ts", filename: "service-worker.js" },
    },
    output: {
      path: output ?? path.join(root, "dist"),
      publicPath: "/",
      filename: "assets/[name].[contenthash:12].js",
      chunkFilename: "assets/[name].[contenthash:12].js",
      assetModuleFilename: "assets/[name].[hash:12][ext]",
      cssFilename: "assets/[name].[contenthash:12].css",
      cssChunkFilename: "assets/[name].[contenthash:12].css",
      clean: true,
    },
    experiments: { css: true },
    resolve: {
      extensions: [".ts", ".tsx", ".js"],
      alias: { "warren-browser": path.join(wasm ?? path.join(root, "target/warren-wasm"), "warren_browser.js") },
    },
    module: {
      rules: [
        { test: /\.tsx?$/, loader: "esbuild-loader", options: { target: BROWSER_TARGET, jsx: "automatic" } },
        { test: /\.css$/, type: "css/global" },
        { test: /\.(svg|png|woff2)$/, type: "asset/resource" },
      ],
    },
    optimization: {
      minimizer: [new EsbuildPlugin({ target: BROWSER_TARGET, css: true, legalComments: "none" })],
      // One vendor chunk would be fetched by worker and service worker as well; they share nothing with the app.
      splitChunks: false,
      chunkIds: "named",
    },
    plugins: [
      new webpack.DefinePlugin({ WARREN_BUILD: JSON.stringify(build) }),
      new SitePlugin(build),
    ],
    performance: { hints: false },
    stats: "errors-warnings",
    infrastructureLogging: { level: "error" },
  };
}
