% If-then-else written with a negated condition.
%% answer: dress(shirt)  0.3
%% answer: dress(coat)  0.7
%% answer: plan(work)  0.6
%% answer: plan(beach)  0.12
%% answer: plan(read)  0.28

0.3::hot.
0.6::busy.

dress(shirt) :- hot.
dress(coat) :- \+ hot.
plan(X) :- (busy, X = work ; \+ busy, hot, X = beach ; \+ busy, \+ hot, X = read).

query(dress(_)).
query(plan(_)).
