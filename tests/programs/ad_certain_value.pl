% Values of probability exactly 1 and 0 in one annotated disjunction.
%% answer: gate(open)  1
%% answer: gate(shut)  0
%% answer: pass  0.5
%% answer: blocked  0.5

1.0::gate(open); 0.0::gate(shut).
0.5::guard.

pass :- gate(open), guard.
blocked :- gate(shut).
blocked :- \+ guard, gate(open).

query(gate(open)).
query(gate(shut)).
query(pass).
query(blocked).
