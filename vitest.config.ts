// Unit tests of the page: in Node, beside the file they test; a file that needs a DOM says `// @vitest-environment jsdom`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  define: { WARREN_BUILD: JSON.stringify({ id: "test", time: 1 }) },
  test: { include: ["www/**/*.test.{ts,tsx}", "scripts/**/*.test.mjs"], environment: "node", testTimeout: 10_000 },
});
