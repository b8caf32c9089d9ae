// Names that the build puts in: webpack.config.js defines them, vitest.config.ts for tests.

/** This build of the page: a digest of its sources, and when they were first built (ms since 1970). */
declare const WARREN_BUILD: { id: string; time: number };

declare module "*.css";
declare module "*.svg" {
  const url: string;
  export default url;
}
