// The page of a training run: stages and their graph, curves, newest samples and tables, as server-sent events bring
// them. Everything from the run is shown as text, never as markup; charts are SVG of our own, whose labels are escaped.

import { duration, lineFigure, shortNumber } from './chart.js';

const element = (id) => document.getElementById(id);
const marks = {
  waiting: '○',
  running: '●',
  done: '✓',
  reused: '✓',
  stopped: '‖',
  failed: '✕',
  'left out': '–',
};

let run;
let tables = [];
/** By stage: charts and samples of each of its logs, by the log's name. */
const logs = new Map();
let chosenStage;
let chosenLog;
let over = false;

const events = new EventSource('events');
events.addEventListener('run', ({ data }) => {
  run = JSON.parse(data);
  const before = chosenStage;
  if (element('follow').checked) chosenStage = runningStage()?.name ?? chosenStage;
  chosenStage ??= run.stages[0]?.name;
  drawHead();
  drawStages();
  if (chosenStage !== before) reveal();
  drawStage();
  drawNotes();
});
events.addEventListener('charts', ({ data }) => keep(JSON.parse(data), 'charts'));
events.addEventListener('samples', ({ data }) => keep(JSON.parse(data), 'samples'));
events.addEventListener('tables', ({ data }) => {
  tables = JSON.parse(data);
  drawTables();
});
events.addEventListener('over', () => {
  over = true;
  events.close();
  drawHead();
});
events.addEventListener('error', () => {
  if (!over) element('status').textContent = 'the run does not answer; trying again…';
});
events.addEventListener('open', () => run && drawHead());

element('follow').addEventListener('change', ({ target }) => {
  const stage = runningStage();
  if (target.checked && stage) choose(stage.name);
});
new ResizeObserver(drawEdges).observe(element('stages'));

function runningStage() {
  return run?.stages.findLast(({ state }) => ['running', 'failed', 'stopped'].includes(state));
}

function keep({ stage, log, ...news }, kind) {
  if (!logs.has(stage)) logs.set(stage, new Map());
  const entry = logs.get(stage);
  entry.set(log, { ...entry.get(log), ...news });
  if (stage !== chosenStage) return;
  if (kind === 'charts') drawCharts();
  else drawSamples();
}

function choose(name) {
  chosenStage = name;
  chosenLog = undefined;
  drawStages();
  drawStage();
}

function drawHead() {
  const settled = run.stages.filter(({ state }) => state === 'done' || state === 'reused').length;
  const asked = run.stages.filter(({ state }) => state !== 'left out').length;
  const seconds = run.stages.reduce((sum, stage) => sum + stage.seconds, 0);
  const title = `${run.recipe}, seed ${run.seed}`;
  document.title = `${settled}/${asked} · ${title}`;
  element('recipe').textContent = title;
  const end = over || run.over ? ' · the run is over; its report is report.html in its folder' : '';
  element('status').textContent = `${settled} of ${asked} stages · ${duration(seconds)}${end}`;
}

function drawStages() {
  const list = element('stages');
  while (list.children.length < run.stages.length) list.append(newStageRow());
  run.stages.forEach((stage, i) => {
    const row = list.children[i];
    row.dataset.state = stage.state;
    const button = row.querySelector('button');
    button.dataset.stage = stage.name;
    button.setAttribute('aria-current', String(stage.name === chosenStage));
    setText(row.querySelector('.mark'), marks[stage.state]);
    setText(row.querySelector('.name'), stage.title);
    setText(row.querySelector('.state'), stateText(stage));
    const from = stage.inputs.map(titleOf).join(', ');
    setText(row.querySelector('.from'), from === '' ? '' : `from ${from}`);
  });
  drawEdges();
}

function newStageRow() {
  const row = element('stage-row').content.firstElementChild.cloneNode(true);
  row.querySelector('button').addEventListener('click', ({ currentTarget }) => {
    const { stage } = currentTarget.dataset;
    element('follow').checked = stage === runningStage()?.name;
    choose(stage);
  });
  return row;
}

/** Scrolls a long list of stages, and nothing else, to the chosen one. */
function reveal() {
  const row = element('stages').querySelector('[aria-current="true"]').getBoundingClientRect();
  for (const box of [element('graph').parentElement, element('graph')]) {
    if (box.scrollHeight <= box.clientHeight) continue;
    const { top, height } = box.getBoundingClientRect();
    box.scrollTop += row.top + row.height / 2 - top - height / 2;
  }
}

function stateText({ state, seconds, progress }) {
  if (state === 'running')
    return progress ? `${Math.floor((100 * progress.done) / progress.total)} %` : 'running';
  if (state === 'done' || state === 'reused') return duration(seconds);
  return state;
}

function titleOf(name) {
  return run.stages.find((stage) => stage.name === name)?.title ?? name;
}

// Each input is an arc beside the list, wider for inputs further away.
function drawEdges() {
  if (!run) return;
  const graph = element('graph');
  const origin = graph.getBoundingClientRect();
  const middle = run.stages.map((_, i) => {
    const mark = element('stages').children[i].querySelector('.mark').getBoundingClientRect();
    return mark.top + mark.height / 2 - origin.top + graph.scrollTop;
  });
  const svg = graph.querySelector('svg') ?? graph.appendChild(svgElement('svg'));
  svg.setAttribute('width', '32');
  svg.setAttribute('height', String(element('stages').scrollHeight));
  svg.setAttribute('aria-hidden', 'true');
  const paths = run.stages.flatMap(({ name, inputs }, to) =>
    inputs.map((input) => {
      const from = run.stages.findIndex((stage) => stage.name === input);
      const bend = Math.min(26, 5 + 4 * (to - from));
      const path = svgElement('path');
      const [a, b] = [middle[from] + 3, middle[to] - 3];
      path.setAttribute('d', `M29 ${a} C${29 - bend} ${a} ${29 - bend} ${b} 29 ${b}`);
      if (name === chosenStage || input === chosenStage) path.classList.add('near');
      return path;
    }),
  );
  svg.replaceChildren(...paths);
}

function svgElement(name) {
  return document.createElementNS('http://www.w3.org/2000/svg', name);
}

function drawStage() {
  const stage = run.stages.find(({ name }) => name === chosenStage);
  if (!stage) return;
  const { progress, seconds, state, why, problem } = stage;
  setText(element('stage-title'), stage.title);
  const steps = progress ? [`${progress.done} of ${progress.total}`, progress.text] : [];
  const left = progress?.left && state === 'running' ? [`about ${duration(progress.left)} left`] : [];
  const time = seconds > 0 ? [duration(seconds)] : [];
  const reason = state === 'running' || state === 'waiting' || state === 'left out' ? [why] : [state];
  setText(element('stage-line'), [...reason, ...steps, ...time, ...left].filter(Boolean).join(' · '));
  const bar = element('stage-progress');
  bar.hidden = !progress || state !== 'running';
  if (progress) bar.value = progress.done / progress.total;
  element('stage-problem').hidden = problem === null;
  setText(element('stage-problem'), problem ?? '');
  drawCharts();
  drawSamples();
}

function currentLog() {
  const entries = logs.get(chosenStage);
  if (!entries) return undefined;
  if (!entries.has(chosenLog)) chosenLog = [...entries.keys()].at(-1);
  return entries.get(chosenLog);
}

function drawCharts() {
  const charts = currentLog()?.charts ?? [];
  drawLogChoice();
  element('no-charts').hidden = charts.length > 0;
  // Our own SVG; what it says of the run went through its escapes.
  element('charts').innerHTML = charts.map(lineFigure).join('');
}

function drawLogChoice() {
  const names = [...(logs.get(chosenStage)?.keys() ?? [])];
  const group = element('logs');
  group.hidden = names.length < 2;
  const buttons = names.map((name) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name === '' ? 'stage' : name;
    button.setAttribute('aria-pressed', String(name === chosenLog));
    button.addEventListener('click', () => {
      chosenLog = name;
      drawStage();
      [...group.children].find((other) => other.textContent === button.textContent)?.focus();
    });
    return button;
  });
  const shown = [...group.children].map((button) => button.textContent + button.getAttribute('aria-pressed'));
  const wanted = buttons.map((button) => button.textContent + button.getAttribute('aria-pressed'));
  if (shown.join() !== wanted.join()) group.replaceChildren(...buttons);
}

function drawSamples() {
  const samples = currentLog()?.samples ?? [];
  element('samples-section').hidden = samples.length === 0;
  const list = element('samples');
  // What a reader has open stays: new samples wait until it is closed.
  if (
    list.dataset.stage === chosenStage &&
    list.dataset.log === chosenLog &&
    list.querySelector('details[open]')
  )
    return;
  list.dataset.stage = chosenStage;
  list.dataset.log = chosenLog ?? '';
  const judged = samples.flatMap(({ reward }) => reward ?? []);
  const [least, largest] = [Math.min(0, ...judged), Math.max(...judged)];
  list.replaceChildren(...samples.map((sample) => sampleCard(sample, least, largest)));
}

function sampleCard({ step, prompt, thought, answer, reward, rewards, cut }, least, largest) {
  const card = element('sample').content.firstElementChild.cloneNode(true);
  const worth = largest > least ? (reward - least) / (largest - least) : 0;
  if (reward !== null) card.dataset.worth = worth > 0.67 ? '2' : worth > 0.33 ? '1' : '0';
  const figures = [
    ['reward', reward],
    ...Object.entries(rewards).filter(([name]) => Object.keys(rewards).length > 1 || name !== 'reward'),
  ];
  const line = card.querySelector('.rewards');
  for (const [name, value] of figures) {
    const part = document.createElement('span');
    const number = document.createElement('b');
    number.textContent = value === null ? 'not judged' : shortNumber(value);
    part.append(`${name} `, number);
    line.append(part);
  }
  if (step !== null) line.append(`step ${step}`);
  if (cut) line.append('cut');
  card.querySelector('.prompt').textContent = prompt;
  card.querySelector('.thought').hidden = thought === null;
  card.querySelector('.thought div').textContent = thought ?? '';
  card.querySelector('.answer').textContent = answer === '' ? '(no answer)' : answer;
  return card;
}

function drawTables() {
  element('tables-section').hidden = tables.length === 0;
  element('tables').replaceChildren(...tables.flatMap(tableElements));
}

function tableElements({ group, metrics, rows }) {
  const table = document.createElement('table');
  const head = table.createTHead().insertRow();
  const names = metrics.map((metric) => (group === '' ? metric : metric.slice(group.length + 1)));
  for (const name of ['stage', ...names]) head.append(heading(name, 'col'));
  const body = table.createTBody();
  for (const { stage, cells } of rows) {
    const row = body.insertRow();
    row.append(heading(titleOf(stage), 'row'));
    for (const cell of cells) {
      const data = row.insertCell();
      // A hole in a list is null in JSON.
      data.textContent = cell ? cell.value.toFixed(3) : '–';
      if (!cell || cell.low === null || cell.high === null) continue;
      const interval = document.createElement('small');
      interval.textContent = `${cell.low.toFixed(3)} to ${cell.high.toFixed(3)}`;
      data.append(interval);
    }
  }
  const frame = document.createElement('div');
  frame.className = 'scroll';
  frame.tabIndex = 0;
  frame.setAttribute('role', 'region');
  frame.setAttribute('aria-label', group === '' ? 'Figures of the stages' : `Figures by ${group}`);
  frame.append(table);
  if (group === '') return [frame];
  const title = document.createElement('h3');
  title.textContent = group;
  return [title, frame];
}

function heading(text, scope) {
  const cell = document.createElement('th');
  cell.scope = scope;
  cell.textContent = text;
  return cell;
}

function drawNotes() {
  element('notes-section').hidden = run.notes.length === 0;
  const notes = run.notes.slice(-12).reverse();
  element('notes').replaceChildren(
    ...notes.map(({ stage, text }) => {
      const note = document.createElement('li');
      note.textContent = `${titleOf(stage)}: ${text}`;
      return note;
    }),
  );
}

/** Leaves what is there alone when it is right, so that a selection survives. */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
