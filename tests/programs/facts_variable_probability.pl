% The probability is a variable that the body binds.
%% answer: sinks(iron)  0.15
%% answer: sinks(gold)  0.65
%% answer: sinks(tin)  0.4
%% answer: all_sink  0.039

weight(iron, 0.15).
weight(gold, 0.65).
weight(tin, 0.4).

P::sinks(X) :- weight(X, P).
all_sink :- sinks(iron), sinks(gold), sinks(tin).

query(sinks(_)).
query(all_sink).
