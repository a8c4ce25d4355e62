/**
 * The chat page: one column, a question, the model's thought (foldable, timed), its answer.
 *
 * What the model can do and the example questions come from the server's model list, so the page fits
 * whatever model is loaded.
 */
import { askStream } from './stream.js';

const byId = (id) => document.getElementById(id);
const seconds = (from) => `${((performance.now() - from) / 1000).toFixed(1)} s`;

let model = null;
let messages = [];
let running = null;

async function loadModel() {
  const response = await fetch('/v1/models');
  const { data } = await response.json();
  model = data[0];
  const facts = model.minke;
  byId('model').textContent =
    `${model.id} · ${(facts.parameters / 1e6).toFixed(1)} M parameters · ${facts.backend}`;
  byId('about').textContent = facts.description;
  byId('ability').textContent = facts.ability;
  byId('base-url').textContent = `${location.origin}/v1`;
  byId('examples').replaceChildren(
    ...facts.examples.map((question) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = question;
      button.addEventListener('click', () => ask(question));
      return button;
    }),
  );
}

function addTurn(question) {
  const turn = byId('turn').content.cloneNode(true).firstElementChild;
  const part = (name) => turn.querySelector(`.${name}`);
  part('question').textContent = question;
  byId('chat').append(turn);
  turn.scrollIntoView({ block: 'end' });
  return part;
}

async function ask(question) {
  if (running || !model) return;
  byId('welcome').hidden = true;
  byId('new-chat').hidden = false;
  const part = addTurn(question);
  // A single-turn model sees each question alone.
  if (model.minke.turns === 'single') messages = [];
  messages.push({ role: 'user', content: question });
  setRunning(new AbortController());
  const started = performance.now();
  let thinkingSince = null;
  let answer = '';
  const showThoughtTime = () => {
    if (thinkingSince !== null) part('thought-time').textContent = seconds(thinkingSince);
  };
  const endThought = () => {
    if (thinkingSince === null) return;
    showThoughtTime();
    const thought = part('thought');
    thought.removeAttribute('data-live');
    thought.open = false;
    part('thought-title').textContent = 'Thought for';
    thinkingSince = null;
  };
  const clock = setInterval(showThoughtTime, 100);
  try {
    for await (const piece of askStream({ model: model.id, messages, signal: running.signal })) {
      if (piece.thought) {
        if (thinkingSince === null) {
          thinkingSince = performance.now();
          Object.assign(part('thought'), { hidden: false, open: true });
          part('thought').setAttribute('data-live', '');
          showThoughtTime(); // a short thought ends before the clock's first tick
        }
        part('thought-text').append(piece.thought);
      }
      if (piece.text) {
        endThought();
        answer += piece.text;
        part('answer').append(piece.text);
      }
      if (piece.finish) part('meta').textContent = summary(piece, started);
      follow();
    }
    messages.push({ role: 'assistant', content: answer });
  } catch (error) {
    messages.pop();
    const stopped = error.name === 'AbortError';
    if (stopped) part('meta').textContent = `Stopped after ${seconds(started)}`;
    else Object.assign(part('error'), { hidden: false, textContent: `This did not work: ${error.message}` });
  } finally {
    endThought();
    clearInterval(clock);
    setRunning(null);
    follow();
    byId('question').focus();
  }
}

function summary({ finish, usage }, started) {
  const time = (performance.now() - started) / 1000;
  const parts = [];
  if (usage) {
    parts.push(`${usage.completion_tokens} tokens`, `${Math.round(usage.completion_tokens / time)} tokens/s`);
  }
  parts.push(`${time.toFixed(1)} s`);
  if (finish === 'length') parts.push('cut at the length limit');
  return parts.join(' · ');
}

function setRunning(controller) {
  running = controller;
  byId('send').hidden = controller !== null;
  byId('stop').hidden = controller === null;
}

/** Keeps the newest text in view unless the reader has scrolled up. */
function follow() {
  const main = document.querySelector('main');
  if (main.scrollHeight - main.scrollTop - main.clientHeight < 160) main.scrollTop = main.scrollHeight;
}

function submit() {
  const box = byId('question');
  const question = box.value.trim();
  if (question === '' || running) return;
  box.value = '';
  box.style.height = '';
  ask(question);
}

byId('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
byId('question').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
byId('question').addEventListener('input', (event) => {
  event.target.style.height = 'auto';
  event.target.style.height = `${event.target.scrollHeight + 2}px`;
});
byId('stop').addEventListener('click', () => running?.abort());
byId('new-chat').addEventListener('click', () => {
  running?.abort();
  messages = [];
  byId('chat').replaceChildren();
  byId('welcome').hidden = false;
  byId('new-chat').hidden = true;
});

loadModel().catch((error) => {
  byId('model').textContent = `the server does not answer (${error.message})`;
});
