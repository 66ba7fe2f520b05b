% Recursion of depth forty; every step is an independent coin.
%% answer: survives(40)  0.12851215656510337
%% answer: survives(1)  0.95

0.95::survives(T) :- T > 0, S is T - 1, survives(S).
survives(0).

query(survives(40)).
query(survives(1)).
