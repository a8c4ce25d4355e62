// The chat page of the real server with the embedded model: the thought is streamed, timed and folds; the answer
// comes; stop stops; a dead server is told of; phone width and dark mode hold up.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from '../scripts/process.mjs';
import { atLeast, check, contains, equal, fits, isDark, openPage, shot, truthy } from './harness.mjs';

/** @param browser of `launchBrowser` */
export async function checkChatPage(browser) {
  const server = await startServer();
  try {
    await chat(browser, server);
  } finally {
    server.child.kill('SIGKILL');
  }
}

async function chat(browser, server) {
  const { page, complaints } = await openPage(browser, server.url, { width: 1100, height: 800 });

  await check('names the model, offers four questions, says what the model can do', async () => {
    await page.waitForSelector('#examples button');
    equal(await page.locator('#examples button').count(), 4);
    contains(await page.textContent('#model'), 'parameters');
    await page.click('#welcome summary');
    contains(await page.textContent('#base-url'), '/v1');
    atLeast((await page.textContent('#ability')).length, 40);
    await shot(page, '1-welcome');
  });

  await check('streams the thought, timed and open, then folds it and shows the answer', async () => {
    await page.evaluate(recordThought);
    await page.locator('#examples button').first().click();
    await page.waitForSelector('.meta:not(:empty)', { timeout: 60_000 });
    const seen = await page.evaluate(() => window.seen);
    atLeast(new Set(seen.map(({ length }) => length)).size, 5); // it grew in front of the reader
    truthy(
      seen.some(({ open, time }) => open && /^\d+\.\d s$/.test(time)),
      'an open thought with a clock',
    );
    truthy(!(await page.locator('.thought').getAttribute('open')), 'a folded thought');
    contains(await page.textContent('.thought summary'), 'Thought for');
    atLeast((await page.textContent('.answer')).trim().length, 1);
    contains(await page.textContent('.meta'), 'tokens');
    await shot(page, '2-answered');
  });

  await check('opens and folds the thought at a click', async () => {
    await page.click('.thought summary');
    truthy(await page.locator('.thought-text').isVisible(), 'the thought');
    atLeast((await page.textContent('.thought-text')).length, 10);
    await shot(page, '3-thought-open');
    await page.click('.thought summary');
    truthy(!(await page.locator('.thought-text').isVisible()), 'no thought');
  });

  await check('stops at the stop button, and takes the next question from the keyboard', async () => {
    // On a busy machine a short answer can end before the click is seen: ask again, some times.
    let meta = '';
    for (let attempt = 0; attempt < 10 && !meta.includes('Stopped'); attempt++)
      meta = await ask(page, 'What is 87 * 96?', stopAtNewThought);
    contains(meta, 'Stopped');
    truthy(await page.locator('#send').isVisible(), 'the send button');
    await engineIdle(server);
    contains(await ask(page, 'What is 250 + 250?'), 'tokens');
    await shot(page, '4-stopped');
  });

  await check('shows what a question contains as text, never as markup', async () => {
    await ask(page, '<img src=x onerror="document.title=1"> & <b>bold</b>');
    contains(await page.locator('.turn .question').last().textContent(), '<b>bold</b>');
    equal(await page.locator('.turn img').count(), 0);
    equal(await page.title(), 'Minke');
  });

  await check('starts again with a new chat', async () => {
    await page.click('#new-chat');
    equal(await page.locator('.turn').count(), 0);
    truthy(await page.locator('#examples').isVisible(), 'the examples');
  });

  const phone = await openPage(
    browser,
    server.url,
    { width: 375, height: 700 },
    { colorScheme: 'dark', hasTouch: true },
  );
  await check('fits a phone, without scrolling sideways, and follows dark mode', async () => {
    await phone.page.waitForSelector('#examples button');
    await phone.page.click('#welcome summary');
    await fits(phone.page);
    await shot(phone.page, '5-phone-welcome');
    await phone.page.locator('#examples button').nth(1).click();
    await phone.page.waitForSelector('.meta:not(:empty)', { timeout: 60_000 });
    await phone.page.fill('#question', `Is ${'9'.repeat(60)} larger than ${'8'.repeat(60)}?`);
    await phone.page.click('#send');
    await phone.page.waitForSelector('.turn:nth-of-type(2) .meta:not(:empty)', { timeout: 60_000 });
    await phone.page.locator('.thought summary').first().click();
    await fits(phone.page);
    await shot(phone.page, '6-phone-answered');
    await isDark(phone.page);
  });

  await check('nothing to complain about in the console so far', async () => {
    equal([...complaints, ...phone.complaints].join('\n'), '');
  });

  await check('says that the server is gone, and keeps the conversation', async () => {
    await page.locator('#examples button').first().click();
    await page.waitForSelector('.meta:not(:empty)', { timeout: 60_000 });
    server.child.kill('SIGKILL');
    await server.ended;
    await page.fill('#question', 'Are you there?');
    await page.press('#question', 'Enter');
    await page.waitForSelector('.turn:nth-of-type(2) .error:not([hidden])');
    contains(await page.textContent('.turn:nth-of-type(2) .error'), 'is it still running?');
    equal(await page.locator('.turn').count(), 2);
    truthy(await page.locator('#send').isVisible(), 'the send button');
    await shot(page, '7-server-gone');
  });
}

async function startServer() {
  const program = join(repositoryRoot, 'apps/cli/dist/main.js');
  const child = spawn(process.execPath, [program, 'serve', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const url = await new Promise((resolve, reject) => {
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (data) => {
      text += data;
      const found = /listening on (\S+)/.exec(text);
      if (found) resolve(found[1]);
    });
    ended.then((code) => reject(new Error(`minke serve ended with code ${code}`)));
  });
  return { child, url, ended };
}

async function engineIdle(server) {
  for (let i = 0; i < 100; i++) {
    const { running, waiting } = await (await fetch(`${server.url}/health`)).json();
    if (running + waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('expected an idle engine after stop');
}

// In the page: what a reader sees of the thought, over time.
function recordThought() {
  window.seen = [];
  new MutationObserver(() => {
    const thought = document.querySelector('.thought');
    if (!thought) return;
    const { length } = thought.querySelector('.thought-text').textContent;
    window.seen.push({
      length,
      open: thought.open,
      time: thought.querySelector('.thought-time').textContent,
    });
  }).observe(document.querySelector('#chat'), { subtree: true, childList: true, characterData: true });
}

// Asks from the keyboard and gives what stands under the answer once it has ended. `prepare` runs in the page before,
// with the number of thoughts there are.
async function ask(page, question, prepare) {
  const turns = await page.locator('.turn').count();
  if (prepare !== undefined) await page.evaluate(prepare, await page.locator('.thought-text').count());
  await page.fill('#question', question);
  await page.press('#question', 'Enter');
  const meta = page.locator('.turn').nth(turns).locator('.meta:not(:empty)');
  await meta.waitFor({ timeout: 60_000 });
  return meta.textContent();
}

// In the page: presses Stop as soon as a new thought has begun.
function stopAtNewThought(before) {
  const observer = new MutationObserver(() => {
    const thoughts = document.querySelectorAll('.thought-text');
    if (thoughts.length <= before || thoughts[before].textContent === '') return;
    observer.disconnect();
    document.querySelector('#stop').click();
  });
  observer.observe(document.querySelector('#chat'), { subtree: true, childList: true });
}
