% Two weights for one head: each grounding of the body is an independent cause.
%% answer: alert(fire)  0.37
%% answer: alert(flood)  0.2

report(fire, 0.1).
report(fire, 0.3).
report(flood, 0.2).

P::alert(X) :- report(X, P).

query(alert(_)).
