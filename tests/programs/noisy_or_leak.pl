% A noisy-or with a leak, whose cause is shared by two effects.
%% answer: error  0.3065
%% answer: slow  0.208
%% answer: trouble  0.38611

0.3::virus.
0.05::error.
0.9::error :- virus.
0.4::slow :- virus.
0.1::slow.

trouble :- error.
trouble :- slow.

query(error).
query(slow).
query(trouble).
