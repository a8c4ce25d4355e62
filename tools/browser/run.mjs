// Drives Chromium over the pages of the built command, the chat page and the page of a training run, and over one that
// runs the WebAssembly kernels.
//
//   node tools/browser/run.mjs [--screenshots <folder>]
//
// Needs Chromium: CHROMIUM_PATH, else /usr/bin/chromium. Its own dependency is installed with npm ci when missing.
// The last line is `N passed, M failed`.

import { countLine } from '../scripts/steps.mjs';
import { checkChatPage } from './chat-page.mjs';
import { counts, launchBrowser, screenshots } from './harness.mjs';
import { checkTrainingPage } from './training-page.mjs';
import { checkWasmPage } from './wasm-page.mjs';

const browser = await launchBrowser();
try {
  await checkChatPage(browser);
  await checkTrainingPage(browser);
  await checkWasmPage(browser);
} finally {
  await browser.close();
}
console.log(`screenshots in ${screenshots}`);
console.log(countLine(counts));
process.exitCode = counts.failed > 0 ? 1 : 0;
