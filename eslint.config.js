// What the linter holds beyond the type checker: hooks, accessibility, no floating promises.
import js from "@eslint/js";
import jsxA11y from "eslint-plugin-jsx-a11y";
import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "target", "node_modules", ".tools", "bench-results"] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  {
    files: ["www/**/*.{ts,tsx}"],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-restricted-exports": ["error", { restrictDefaultExports: { direct: true } }],
    },
  },
  { files: ["www/app/**/*.tsx"], ...jsxA11y.flatConfigs.recommended },
  { files: ["www/app/**/*.{ts,tsx}"], ...reactHooks.configs.flat.recommended },
  { files: ["**/*.d.ts"], rules: { "no-restricted-exports": "off" } },
  {
    files: ["**/*.{js,mjs}"],
    languageOptions: { globals: readonly(NODE_GLOBALS()) },
  },
  {
    files: ["benches/**/*.{js,mjs}"],
    // What runs in the page, and what it calls there.
    languageOptions: { globals: readonly(["bench", "indexedDB"]) },
    rules: { "@typescript-eslint/no-this-alias": "off" },
  },
  { files: ["benches/browser/page-side.js"], languageOptions: { globals: { Worker: "writable" } } },
);

function readonly(names) {
  return Object.fromEntries(names.map((name) => [name, "readonly"]));
}

function NODE_GLOBALS() {
  return ["document", "navigator", "caches", "localStorage", "IDBDatabase", "isSecureContext", "Event", "WebAssembly", "process", "console", "Buffer", "URL", "URLSearchParams", "fetch", "setTimeout", "clearTimeout", "setInterval",
    "clearInterval", "setImmediate", "performance", "AbortController", "AbortSignal", "TextEncoder", "TextDecoder", "WebSocket", "crypto"];
}
