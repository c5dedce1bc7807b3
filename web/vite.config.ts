// Builds the page into ../assets/ui, from where the program embeds it. The same sources give the same bytes.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** Newer than `light-dark()` and `popover`: what is older never gets past the style sheet. */
const BROWSERS = ['chrome123', 'edge123', 'firefox125', 'safari17.5'];

/** The licences of what is bundled, as they ask for. */
function licences(): Plugin {
  return {
    name: 'third-party-licences',
    generateBundle(_options, bundle) {
      const folders = new Set<string>();
      for (const chunk of Object.values(bundle)) {
        for (const id of chunk.type === 'chunk' ? chunk.moduleIds : []) {
          const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0];
          if (folder !== undefined) folders.add(folder.replaceAll('\0', ''));
        }
      }
      // Texts that many share stand once, below the names of all who use them.
      const users = new Map<string, string[]>();
      for (const folder of folders) {
        const manifest = join(folder, 'package.json');
        if (!existsSync(manifest)) continue;
        const { name, version, license } = JSON.parse(readFileSync(manifest, 'utf8'));
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file ? readFileSync(join(folder, file), 'utf8').trim() : `${license}, without a text of its own`;
        users.set(text, [...(users.get(text) ?? []), `${name} ${version} (${license})`].sort());
      }
      const sections = [...users].map(([text, names]) => `${names.join('\n')}\n\n${text}\n`).sort();
      const source = sections.join(`\n${'-'.repeat(80)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'third-party-licenses.txt', source });
    },
  };
}

const server = process.env.OBSERVATORY ?? 'http://127.0.0.1:9090';

export default defineConfig({
  // Relative: the page works below any path of a proxy.
  base: './',
  plugins: [svelte(), licences()],
  build: {
    outDir: '../assets/ui',
    emptyOutDir: true,
    assetsDir: 'immutable',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: BROWSERS,
    cssTarget: BROWSERS,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      output: {
        entryFileNames: 'immutable/[name]-[hash].js',
        chunkFileNames: 'immutable/[name]-[hash].js',
        assetFileNames: 'immutable/[name]-[hash][extname]',
      },
    },
  },
  server: { proxy: { '/api': server, '/metrics': server, '/-/': server } },
  // Timestamps in tests read the same everywhere.
  test: { environment: 'node', include: ['src/**/*.test.ts'], env: { TZ: 'Europe/Berlin' } },
} as Parameters<typeof defineConfig>[0]);
