export {
  communicationBalanceLoss,
  deviceBalanceLoss,
  expertBalanceLoss,
  sequenceBalanceLoss,
  updateBias,
} from './balance.ts';
export {
  deepseekV2Gate,
  deepseekV2LiteGate,
  deepseekV3Gate,
  type MoeConfig,
  validateMoeConfig,
} from './config.ts';
export {
  denseExperts,
  type ExpertAdditions,
  type ExpertWeights,
  fusedExperts,
  groupedExperts,
  groupedLinear,
  type SharedExpertWeights,
} from './experts.ts';
export { expertLoad, type Routing, route } from './gate.ts';
export { type LoadStatistics, loadStatistics } from './load-statistics.ts';
export { type InitOptions, MoeLayer, type MoeOutput } from './moe-layer.ts';
