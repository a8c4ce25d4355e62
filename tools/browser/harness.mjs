// What the page checks share: the browser, counted checks, screenshots, and questions to a page.

import { existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npm } from '../scripts/process.mjs';
import { ensureBuilt, setUpOrExit } from '../scripts/setup.mjs';
import { countLine } from '../scripts/steps.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const executablePath = process.env.CHROMIUM_PATH || '/usr/bin/chromium';
const asked = process.argv.indexOf('--screenshots');

export const counts = { passed: 0, failed: 0, skipped: 0 };
export const screenshots = asked > 0 ? process.argv[asked + 1] : mkdtempSync(join(tmpdir(), 'minke-page-'));

/** A built workspace and a running browser; ends the process where there is no Chromium. */
export async function launchBrowser() {
  if (!existsSync(executablePath)) {
    console.error(`expected Chromium at ${executablePath}; install it or set CHROMIUM_PATH`);
    console.log(countLine({ passed: 0, failed: 1, skipped: 0 }));
    process.exit(1);
  }
  await setUpOrExit(async () => {
    await ensureBuilt();
    if (!existsSync(join(here, 'node_modules/playwright-core')))
      await npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', here]);
  });
  mkdirSync(screenshots, { recursive: true });
  const { chromium } = await import('playwright-core');
  return chromium.launch({
    executablePath,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

/** A page at an address, and what its console complains of. */
export async function openPage(browser, url, viewport, options = {}) {
  const context = await browser.newContext({ viewport, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(url);
  return { page, complaints };
}

/** Fails where a page scrolls sideways or something sticks out of it; what scrolls by itself may be wider inside. */
export async function fits(page) {
  const { scrollWidth, clientWidth } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { scrollWidth, clientWidth };
  });
  truthy(scrollWidth <= clientWidth, `a page no wider than ${clientWidth}, got ${scrollWidth}`);
  const wide = await page.evaluate(() =>
    [...document.querySelectorAll('body *')]
      .filter((element) => !element.closest('.scroll') || element.matches('.scroll'))
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
      .map((element) => element.tagName + (element.id && `#${element.id}`)),
  );
  equal(wide.join(' '), '');
}

export async function check(title, run) {
  try {
    await run();
    console.log(`ok      ${title}`);
    counts.passed += 1;
  } catch (error) {
    console.log(
      `FAILED  ${title}\n        ${String(error?.message ?? error).replaceAll('\n', '\n        ')}`,
    );
    counts.failed += 1;
  }
}

export function shot(page, name, options = {}) {
  return page.screenshot({ path: join(screenshots, `${name}.png`), ...options });
}

export function truthy(value, what) {
  if (!value) throw new Error(`expected ${what}`);
}
export function equal(value, expected) {
  truthy(value === expected, `${JSON.stringify(expected)}, got ${JSON.stringify(value)}`);
}
export function contains(text, part) {
  truthy(text?.includes(part), `text with ${JSON.stringify(part)}, got ${JSON.stringify(text)}`);
}
export function atLeast(value, least) {
  truthy(value >= least, `at least ${least}, got ${value}`);
}
function brightness(colour) {
  const [r, g, b] = colour.match(/\d+/g).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

/** Fails unless the page is light on dark. */
export async function isDark(page) {
  const colours = await page.evaluate(() => {
    const { color, backgroundColor } = getComputedStyle(document.body);
    return { color, backgroundColor };
  });
  truthy(brightness(colours.backgroundColor) < 60, 'a dark ground');
  truthy(brightness(colours.color) > 180, 'light text');
}
