// Builds the package, and the single file that the server has at `/roomcast.js`. With `--check` it
// only says whether that file is the one in the repository, which a Rust build takes as it is.
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const GZIP_BYTES_MAX = 12_000;
const served = new URL("../../crates/server/page/dist/", import.meta.url);
const root = fileURLToPath(new URL(".", import.meta.url));
const common = { absWorkingDir: root, bundle: true, target: "es2022", sourcemap: true };

const single = await build({
  ...common,
  entryPoints: ["src/index.ts"],
  outfile: fileURLToPath(new URL("roomcast.js", served)),
  format: "iife",
  globalName: "roomcast",
  minify: true,
  write: false,
  banner: { js: "// @roomcast/client, MIT OR Apache-2.0" },
});

for (const { path, contents } of single.outputFiles) {
  const name = path.split("/").at(-1);
  if (process.argv.includes("--check")) {
    if (Buffer.compare(readFileSync(path), contents) === 0) continue;
    console.error(`${path} is not what the sources make: run \`npm run build\` in sdk/js`);
    process.exit(1);
  }
  mkdirSync(served, { recursive: true });
  writeFileSync(path, contents);
  const bytes = gzipSync(contents, { level: 9 }).length;
  console.log(`${name}: ${contents.length} bytes, ${bytes} gzipped`);
  if (name.endsWith(".js") && bytes > GZIP_BYTES_MAX) {
    throw new Error(`more than ${GZIP_BYTES_MAX} bytes`);
  }
}

if (!process.argv.includes("--check")) {
  await build({
    ...common,
    entryPoints: ["src/index.ts", "src/msgpack.ts"],
    outdir: "dist",
    format: "esm",
    external: ["@msgpack/msgpack"],
  });
  const all = await build({
    ...common,
    stdin: { contents: 'export * from "./src/index.ts"; export * from "./src/msgpack.ts";',
      resolveDir: root },
    format: "iife",
    globalName: "roomcast",
    minify: true,
    sourcemap: false,
    write: false,
  });
  const bytes = gzipSync(all.outputFiles[0].contents, { level: 9 }).length;
  console.log(`with MessagePack: ${all.outputFiles[0].contents.length} bytes, ${bytes} gzipped`);
}
