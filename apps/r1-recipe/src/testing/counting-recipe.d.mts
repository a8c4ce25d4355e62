import type { Stage } from '../run/stage.ts';

export interface CountingSettings {
  readonly count: number;
  readonly max: number;
  readonly pauseMs: number;
  readonly modulus: number;
}
export declare const defaultSettings: CountingSettings;
export declare function countingStages(changes?: Partial<CountingSettings>): Stage[];
export default function stagesOf(preset: string): Stage[];
