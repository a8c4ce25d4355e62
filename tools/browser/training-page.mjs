// The page of a real training run of small counting stages: stages and their graph, curves that grow, samples as text,
// tables, the end of the run; phone width, dark mode and the keyboard hold up.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../scripts/process.mjs';
import { atLeast, check, contains, equal, fits, isDark, openPage, shot, truthy } from './harness.mjs';

/** @param browser of `launchBrowser` */
export async function checkTrainingPage(browser) {
  const folder = mkdtempSync(join(tmpdir(), 'minke-training-page-'));
  const run = await startRun(join(folder, 'run'));
  try {
    await watch(browser, run);
  } finally {
    run.child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function watch(browser, run) {
  const { page, complaints } = await openPage(browser, run.url, { width: 1200, height: 900 });
  const phone = await openPage(browser, run.url, { width: 400, height: 800 }, { colorScheme: 'dark' });

  await check('shows the stages, the running one followed, with an edge for each input', async () => {
    await page.waitForSelector('#stages [aria-current="true"]');
    equal(await page.locator('#stages button').count(), 4);
    await page.waitForSelector('[data-state="running"]');
    equal(await page.textContent('#stage-title'), 'Numbers');
    equal(await page.locator('#graph path').count(), 2);
    contains(await page.textContent('#recipe'), 'counting-recipe demo');
  });

  await check('draws curves that grow while the stage runs', async () => {
    await page.waitForSelector('#charts svg');
    const points = () => page.$eval('#charts svg .line:not(.raw)', (path) => path.getAttribute('d').length);
    const before = await points();
    await page.waitForFunction(
      (length) => document.querySelector('#charts svg .line').getAttribute('d').length > length,
      before,
    );
    atLeast(await page.locator('#charts svg').count(), 6);
    contains(await page.getAttribute('#charts svg', 'aria-label'), 'Reward: reward from');
    contains(await page.textContent('#stage-line'), 'of 200');
    await shot(page, '8-training');
  });

  await check('shows samples with their rewards as text, never as markup', async () => {
    await page.waitForSelector('.sample');
    contains(await page.textContent('.sample .prompt'), '<b>&');
    contains(await page.textContent('.sample .answer'), '<img src=x');
    equal(await page.locator('.sample img, .sample b b').count(), 0);
    truthy(!(await page.title()).startsWith('1'), 'a title that no sample wrote');
    contains(await page.textContent('.sample .rewards'), 'not judged');
    truthy((await page.locator('.sample[data-worth="2"]').count()) > 0, 'a sample that did well');
    await page.click('.sample .thought summary');
    truthy(await page.locator('.sample .thought div').first().isVisible(), 'the thought');
  });

  await check('fits a phone, without scrolling sideways, and follows dark mode', async () => {
    await phone.page.waitForSelector('.sample');
    await phone.page.waitForSelector('#charts svg');
    await fits(phone.page);
    await isDark(phone.page);
    await shot(phone.page, '9-training-phone', { fullPage: true });
  });

  await check('is for this machine and for reading only', async () => {
    equal(await statusOf(run.url, { headers: { host: 'evil.example' } }), 403);
    equal(await statusOf(run.url, { method: 'POST' }), 405);
    equal(await statusOf(`${run.url}/../../package.json`), 404);
    equal(await statusOf(`${run.url}/style.css`), 200);
  });

  await check(
    'tells of the end and shows the tables; any stage can be chosen from the keyboard',
    async () => {
      equal(await run.ended, 0);
      await page.waitForFunction(() =>
        document.querySelector('#status').textContent.includes('the run is over'),
      );
      contains(await page.textContent('#status'), '4 of 4 stages');
      contains(await page.textContent('#tables'), 'pass@1');
      equal(await page.locator('[data-state="done"]').count(), 4);
      await page.focus('#stages button');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      equal(await page.textContent('#stage-title'), 'squares');
      contains(await page.textContent('#stages [aria-current="true"]'), 'from Numbers');
      await page.focus('#stages button');
      await page.keyboard.press('Enter');
      await page.waitForSelector('#charts svg');
      await shot(page, '10-training-over');
    },
  );

  await check('nothing to complain about in the console of the training page', async () => {
    equal([...complaints, ...phone.complaints].join('\n'), '');
  });
}

/** `minke train recipe` on the counting stages, slow enough to be watched. */
async function startRun(out) {
  const program = join(repositoryRoot, 'apps/cli/dist/main.js');
  const stages = join(repositoryRoot, 'apps/r1-recipe/src/testing/counting-recipe.mjs');
  const child = spawn(
    process.execPath,
    [program, 'train', 'recipe', '--stages', stages, '--preset', 'demo', '--out', out, '--page'],
    { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, PAUSE_MS: '60' } },
  );
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const url = await new Promise((resolve, reject) => {
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (data) => {
      text += data;
      const found = /page on (\S+)/.exec(text);
      if (found) resolve(found[1]);
    });
    ended.then((code) => reject(new Error(`minke train recipe ended with code ${code}: ${text}`)));
  });
  return { child, url, ended };
}

/** By node:http, which sends any Host and any path as they are. */
function statusOf(url, options = {}) {
  const { hostname, port } = new URL(url);
  const path = url.slice(url.indexOf(port) + port.length) || '/';
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, ...options }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
}
