% findall over the very predicate that it defines.
%% error: IndirectCallCycleError

p(L) :- findall(X, p(X), L).

query(p(_)).
