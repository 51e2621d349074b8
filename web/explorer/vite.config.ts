import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Into the indexer's package: its API serves the files, and its wheel has them.
export default defineConfig({
  base: "./",
  resolve: {
    alias: { "@corechain/verify": here("../verify/src/index.ts") },
    // Of the sources beside us: their own node_modules need not be there.
    dedupe: ["@noble/curves", "@noble/hashes"],
  },
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  publicDir: "made",
  build: {
    outDir: here("../../indexer/src/corechain_indexer/explorer"),
    emptyOutDir: true,
    assetsInlineLimit: 0, // the policy of the page lets no data: scripts or fonts in
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: { output: { manualChunks: { map: ["leaflet", "h3-js"] } } },
  },
});
