/**
 * What the recipe asks a model: a reasoning problem or a general request, in one shape, and a row to learn from.
 *
 * Both have an id and a canonical form, whose hash decides the split (`split` of `@minke/reasoning-tasks`): no
 * phrasing and no language of a test item can occur in training. Everything is plain JSON.
 */
import type { FamilyName, Language, Problem } from '@minke/reasoning-tasks';
import type { Conversation } from '@minke/rl-trainer';
import type { GeneralFacts, GeneralKind } from './general-facts.ts';

interface Asked {
  /** 16 hexadecimal digits: the hash of `canonical`. */
  readonly id: string;
  /** The task without its phrasing and its language. */
  readonly canonical: string;
  /** Language of the question; replies and thoughts should be in it. */
  readonly language: Language;
  /** The question in words. */
  readonly prompt: string;
  /** A right answer, or a good reply. */
  readonly answer: string;
}

/** A problem of a family with its exact verifier. */
export interface ReasoningTask extends Asked {
  readonly domain: 'reasoning';
  readonly family: FamilyName;
  /** The problem as its verifier wants it. */
  readonly metadata: Problem;
}

/** A request of a chat; `judgeGeneral` says how good a reply is. */
export interface GeneralTask extends Asked {
  readonly domain: 'general';
  readonly family: GeneralKind;
  readonly metadata: GeneralFacts;
}

/** Anything the recipe asks. */
export type Task = ReasoningTask | GeneralTask;

/** One exchange to learn from: question, thought and visible answer, and what they are made of. */
export interface Row extends Conversation {
  readonly id: string;
  readonly canonical: string;
  readonly domain: Task['domain'];
  readonly family: FamilyName | GeneralKind;
  /** Language of the question. */
  readonly language: Language;
  /** How the reply was made: `direct`, `thought`, `give-up`, `slip`, `good`, or the name of what spoils it. */
  readonly style: string;
}

/** The row at a position; equal positions give equal rows. */
export type RowAt = (position: number) => Row;

/** A problem as a task. */
export function reasoningTask(problem: Problem): ReasoningTask {
  const { id, canonical, family, language = 'en', prompt, answer } = problem;
  return { domain: 'reasoning', id, canonical, family, language, prompt, answer, metadata: problem };
}

/** A row that answers a task. */
export function rowOf(task: Task, reply: { reasoning: string; answer: string; style: string }): Row {
  const { id, canonical, domain, family, language, prompt: question } = task;
  return { id, canonical, domain, family, language, ...reply, question };
}

/** A task as a prompt of reinforcement learning: question, and what rewards need to know. */
export function promptOf(task: Task) {
  const { prompt, answer, language, metadata, domain, family } = task;
  return { prompt, answer, language, domain: domain === 'general' ? domain : family, metadata } as const;
}
